// urql's core. Its queries say that they would take an event stream too, and its subscriptions that they would take
// either of two streams: the service has to choose.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cacheExchange, Client, fetchExchange, gql } from '@urql/core';

import { Service } from './support.mjs';

let service;
let types;
let client;
before(async () => {
  service = await Service.start();
  client = new Client({
    url: service.graphql,
    exchanges: [cacheExchange, fetchExchange],
    fetchOptions: { headers: service.authorization('alice') },
    fetchSubscriptions: true,
    fetch: async (...request) => {
      const response = await fetch(...request);
      types.push(response.headers.get('content-type'));
      return response;
    },
  });
});
after(() => service?.stop());

const me = gql`
  query {
    me {
      id
      name
    }
  }
`;

for (const preferGetMethod of ['force', false]) {
  test(`a query by ${preferGetMethod ? 'GET' : 'POST'} has its answer as JSON`, async () => {
    types = [];
    const { data, error } = await client.query(me, {}, { preferGetMethod, requestPolicy: 'network-only' }).toPromise();
    assert.equal(error, undefined);
    assert.deepEqual([data.me.id, data.me.name], ['alice', 'alice']);
    assert.equal(types.length, 1);
    assert.match(types[0], /^application\/graphql-response\+json\b/);
  });
}

test('an inbox is a stream of events', async () => {
  types = [];
  const { data, error } = await new Promise((resolve) => {
    const inbox = client.subscription(gql`subscription { inbox { __typename } }`, {});
    const { unsubscribe } = inbox.subscribe((result) => {
      resolve(result);
      queueMicrotask(() => unsubscribe());
    });
  });
  assert.equal(error, undefined);
  assert.equal(data.inbox.__typename, 'CaughtUp');
  assert.match(types[0], /^text\/event-stream\b/);
});
