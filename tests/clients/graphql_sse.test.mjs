// Server-sent events at the address of GraphQL itself, by the client of `graphql-sse`: one connection an operation.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createClient } from 'graphql-sse';

import { gate, Inbox, restartWhileSending } from './inbox.mjs';
import { answers, sendDocument, Service } from './support.mjs';

let service;
before(async () => {
  service = await Service.start();
  await service.register('alice', 'bob', 'carol', 'dave');
});
after(() => service?.stop());

function connect(t, options) {
  const client = createClient({ url: service.graphql, retryAttempts: 0, ...options });
  t.after(() => client.dispose());
  return client;
}

function connectAs(t, id, options) {
  return connect(t, { headers: service.authorization(id), ...options });
}

test('a query has one answer', async (t) => {
  const results = await answers(connectAs(t, 'alice'), '{ me { id name } }');
  assert.deepEqual(results, [{ data: { me: { id: 'alice', name: 'alice' } } }]);
});

test('a mutation has one answer', async (t) => {
  const results = await answers(connectAs(t, 'bob'), sendDocument, { input: { to: 'alice', text: 'par le flux' } });
  assert.deepEqual(results, [{ data: { sendMessage: { message: { text: 'par le flux' }, userErrors: [] } } }]);
});

test('an inbox tells what comes', async (t) => {
  const inbox = new Inbox(connectAs(t, 'alice'));
  await inbox.until(() => inbox.caughtUp === 1);
  await service.send('bob', 'alice', 'de Bob');
  await service.send('alice', 'bob', 'de moi');
  await inbox.until(() => inbox.texts.length === 2);
  assert.deepEqual(inbox.texts, ['de Bob', 'de moi']);
});

test('an invalid operation has its errors as an event', async (t) => {
  // A status would do for the client here, but a browser's EventSource shows its program no body of a refusal.
  const client = connectAs(t, 'alice');
  const cases = { '{ nobody }': 'GRAPHQL_VALIDATION_FAILED', '{ me {': 'GRAPHQL_PARSE_FAILED', 'subscription { inbox { nothing } }': 'GRAPHQL_VALIDATION_FAILED' };
  for (const [query, code] of Object.entries(cases)) {
    const [{ data, errors }, ...more] = await answers(client, query);
    assert.equal(data, undefined);
    assert.equal(errors[0].extensions.code, code);
    assert.deepEqual(more, []);
  }
});

test('a missing token and a wrong one are refused with 401', async (t) => {
  for (const headers of [{}, { authorization: `Bearer ${service.token('alice')}x` }]) {
    await assert.rejects(answers(connect(t, { headers }), '{ me { id } }'), ({ response }) => response.status === 401);
  }
});

test('the stream is what an EventSource takes', async () => {
  const address = new URL(service.graphql);
  address.searchParams.set('query', '{ me { id } }');
  const response = await fetch(address, { headers: { accept: 'text/event-stream', ...service.authorization('alice') } });
  assert.match(response.headers.get('content-type'), /^text\/event-stream\b/);
  const events = (await response.text()).split('\n\n').filter((event) => event && !event.startsWith(':'));
  assert.equal(events.length, 2);
  assert.match(events[0], /^event: ?next\ndata: ?\{.*\}$/);
  // An event without a data field never reaches an EventSource's listener.
  assert.match(events[1], /^event: ?complete\ndata:/);
});

// A client that is never let back waits for ever: the limit is its failure.
test('an inbox outlives the service: each message once, none lost', { timeout: 20_000 }, async (t) => {
  const reconnect = gate();
  const client = connectAs(t, 'dave', { retryAttempts: 1, retry: () => reconnect.opened });
  await restartWhileSending(service, new Inbox(client), reconnect.open);
});
