// The socket, by the client of `graphql-ws`.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { gate, Inbox, restartWhileSending } from './inbox.mjs';
import { answers, sendDocument, Service } from './support.mjs';

let service;
before(async () => {
  service = await Service.start();
  await service.register('alice', 'bob', 'carol', 'dave');
});
after(() => service?.stop());

function connect(t, options) {
  const client = createClient({ url: service.socket, webSocketImpl: WebSocket, retryAttempts: 0, ...options });
  t.after(() => client.dispose());
  return client;
}

function connectAs(t, id, options) {
  return connect(t, { connectionParams: service.authorization(id), ...options });
}

test('a query has one answer', async (t) => {
  const results = await answers(connectAs(t, 'alice'), '{ me { id name } }');
  assert.deepEqual(results, [{ data: { me: { id: 'alice', name: 'alice' } } }]);
});

test('a mutation has one answer', async (t) => {
  const results = await answers(connectAs(t, 'bob'), sendDocument, { input: { to: 'alice', text: 'par la prise' } });
  assert.deepEqual(results, [{ data: { sendMessage: { message: { text: 'par la prise' }, userErrors: [] } } }]);
});

test('an inbox tells what comes, beside other operations on its socket', async (t) => {
  const client = connectAs(t, 'alice');
  const inbox = new Inbox(client);
  await inbox.until(() => inbox.caughtUp === 1);
  await service.send('bob', 'alice', 'de Bob');
  await answers(client, sendDocument, { input: { to: 'bob', text: 'de moi' } });
  await inbox.until(() => inbox.texts.length === 2);
  assert.deepEqual(inbox.texts, ['de Bob', 'de moi']);
});

for (const name of ['authorization', 'Authorization', 'token']) {
  test(`the token is understood as \`${name}\``, async (t) => {
    const token = name === 'token' ? service.token('alice') : `Bearer ${service.token('alice')}`;
    const [{ data }] = await answers(connect(t, { connectionParams: { [name]: token } }), '{ me { id } }');
    assert.equal(data.me.id, 'alice');
  });
}

test('a wrong token, an expired one and none are closed with 4403', async (t) => {
  const wrong = `${service.token('alice')}x`;
  const expired = service.token('alice', { exp: 1 });
  for (const connectionParams of [{ authorization: `Bearer ${wrong}` }, { authorization: `Bearer ${expired}` }, undefined]) {
    const client = connect(t, { connectionParams });
    await assert.rejects(answers(client, '{ me { id } }'), ({ code }) => code === 4403);
  }
});

test('an invalid operation has its errors, and its socket goes on', async (t) => {
  const client = connectAs(t, 'alice', { lazy: false });
  const seen = [];
  for (const event of ['connected', 'closed']) client.on(event, () => seen.push(event));
  const code = (expected) => (errors) => errors[0].extensions.code === expected;
  await assert.rejects(answers(client, '{ nobody }'), code('GRAPHQL_VALIDATION_FAILED'));
  await assert.rejects(answers(client, '{ me {'), code('GRAPHQL_PARSE_FAILED'));
  await assert.rejects(answers(client, 'subscription { inbox { nothing } }'), code('GRAPHQL_VALIDATION_FAILED'));
  const [{ data }] = await answers(client, '{ me { id } }');
  assert.equal(data.me.id, 'alice');
  assert.deepEqual(seen, ['connected']);
});

// A client that is never let back waits for ever: the limit is its failure.
test('an inbox outlives the service: each message once, none lost', { timeout: 20_000 }, async (t) => {
  const reconnect = gate();
  const client = connectAs(t, 'dave', { retryAttempts: 1, retryWait: () => reconnect.opened });
  await restartWhileSending(service, new Inbox(client), reconnect.open);
});
