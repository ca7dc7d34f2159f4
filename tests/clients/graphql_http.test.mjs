// GraphQL over HTTP: the audits of `graphql-http`, all of them, at every level of demand.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serverAudits } from 'graphql-http';

import { Service } from './support.mjs';

let service;
before(async () => (service = await Service.start()));
after(() => service?.stop());

const audits = serverAudits({
  url: () => service.graphql,
  fetchFn: (url, init = {}) => fetch(url, { ...init, headers: { ...init.headers, ...service.authorization('auditor') } }),
});

test('the suite has its audits', () => {
  const levels = new Set(audits.map(({ name }) => name.split(' ')[0]));
  assert.deepEqual([...levels].sort(), ['MAY', 'MUST', 'SHOULD']);
});

for (const audit of audits) {
  test(`${audit.id} ${audit.name}`, async () => {
    const { status, reason } = await audit.fn();
    assert.equal(status, 'ok', reason);
  });
}
