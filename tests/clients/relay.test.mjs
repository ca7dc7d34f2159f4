// The documents of a Relay app, in relay/: its compiler takes them, and the service answers what it made of them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { createClient } from 'graphql-ws';
import compiler from 'relay-compiler';
import WebSocket from 'ws';

import { folder, here, schemaFile, Service } from './support.mjs';

let service;
let artifacts;
before(async () => {
  service = await Service.start();
  await service.register('alice', 'bob', 'carol', 'dave');
  await service.send('alice', 'bob', 'un');
  await service.send('alice', 'carol', 'deux');
  await service.send('alice', 'bob', 'trois');
  artifacts = await folder();
  await compile();
});
after(async () => {
  await service?.stop();
  if (artifacts) await rm(artifacts, { recursive: true });
});

async function compile() {
  const config = join(artifacts, 'relay.config.json');
  const settings = { src: join(here, 'relay'), schema: schemaFile, language: 'javascript', eagerEsModules: true, artifactDirectory: artifacts };
  await writeFile(config, JSON.stringify(settings));
  await promisify(execFile)(compiler, ['--noWatchman', config]);
  await writeFile(join(artifacts, 'package.json'), JSON.stringify({ type: 'module' }));
}

/** What Relay sends for an operation. */
async function compiled(name) {
  const { default: artifact } = await import(join(artifacts, `${name}.graphql.js`));
  return artifact.params.text;
}

async function run(id, name, variables) {
  return service.ask(id, await compiled(name), variables);
}

test('relay-compiler takes every document', async () => {
  const names = (await readdir(artifacts)).filter((file) => file.endsWith('.graphql.js')).map((file) => file.replace('.graphql.js', ''));
  assert.deepEqual(names.sort(), [
    'ConversationListDeleteMutation',
    'ConversationListPaginationQuery',
    'ConversationListQuery',
    'ConversationList_query',
    'ConversationRow_conversation',
    'HistoryPaginationQuery',
    'HistoryQuery',
    'HistorySendMutation',
    'History_conversation',
    'History_message',
    'InboxSubscription',
    'ProfileBlockMutation',
    'ProfileRefetchQuery',
    'Profile_user',
  ]);
});

test('a message is sent under the id that its optimistic record has', async () => {
  const messageId = randomUUID();
  const { sendMessage } = await run('dave', 'HistorySendMutation', { input: { to: 'bob', text: 'quatre', messageId } });
  assert.deepEqual(sendMessage.userErrors, []);
  assert.equal(sendMessage.message.id, messageId);
  assert.equal(sendMessage.conversation.lastMessage.id, messageId);
});

test('the conversation list is paged by its refetch query', async () => {
  const names = ({ conversations }) => conversations.edges.map(({ node }) => node.contact.name);
  const first = await run('alice', 'ConversationListQuery', { count: 1 });
  assert.deepEqual(names(first), ['carol'], 'the least recent, without an order');
  const more = await run('alice', 'ConversationListPaginationQuery', { count: 1, cursor: first.conversations.pageInfo.endCursor });
  assert.deepEqual(names(more), ['bob']);
  const newest = await run('alice', 'ConversationListPaginationQuery', { count: 2, order: 'NEWEST_FIRST' });
  assert.deepEqual(names(newest), ['bob', 'carol']);
});

test('a history is paged backwards by its refetch query, through `node`', async () => {
  const { conversation } = await run('bob', 'HistoryQuery', { with: 'alice', count: 1 });
  assert.deepEqual(conversation.messages.edges.map(({ node }) => node.text), ['trois']);
  const { hasPreviousPage, startCursor } = conversation.messages.pageInfo;
  assert.equal(hasPreviousPage, true);
  const { node } = await run('bob', 'HistoryPaginationQuery', { id: conversation.id, count: 50, cursor: startCursor });
  assert.equal(node.__typename, 'Conversation');
  assert.deepEqual(node.messages.edges.map(({ node }) => node.text), ['un']);
});

test('a profile is fetched again through `node`', async () => {
  await run('bob', 'ProfileBlockMutation', { input: { userId: 'alice' } });
  const { node } = await run('bob', 'ProfileRefetchQuery', { id: 'alice' });
  assert.equal(node.__typename, 'User');
  assert.equal(node.blocked, true);
});

test('the inbox says which record of the store a deletion removes', async (t) => {
  const client = createClient({ url: service.socket, webSocketImpl: WebSocket, connectionParams: service.authorization('carol') });
  t.after(() => client.dispose());
  const { conversation } = await service.ask('carol', '{ conversation(with: "alice") { id } }');
  const inbox = client.iterate({ query: await compiled('InboxSubscription') });
  const next = async () => (await inbox.next()).value.data.inbox;
  assert.equal((await next()).__typename, 'CaughtUp');
  const { deleteConversation } = await run('carol', 'ConversationListDeleteMutation', { input: { with: 'alice' } });
  assert.equal(deleteConversation.deletedConversationId, conversation.id);
  const removed = await next();
  assert.equal(removed.__typename, 'ConversationRemoved');
  assert.equal(removed.conversationId, conversation.id);
});
