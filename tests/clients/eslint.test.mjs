// The schema, by the rules of @graphql-eslint for schemas: what is recommended, and Relay's.

import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { test } from 'node:test';
import graphqlPlugin from '@graphql-eslint/eslint-plugin';
import { ESLint } from 'eslint';

import { schemaFile } from './support.mjs';

const exceptions = {
  '@graphql-eslint/strict-id-in-types': ['error', {
    exceptions: {
      // An answer, a page and a row of a page are not things that live on under an id: what they carry is.
      suffixes: ['Payload', 'Connection', 'Edge'],
      types: [
        // By Relay's specification of connections.
        'PageInfo',
        // Values, as the contract has them: equal where their fields are.
        'ListTemplate', 'DetailTemplate', 'UserError',
        // Moments of the inbox: they have a place, their cursor, and no identity.
        'MessageAdded', 'ConversationChanged', 'ConversationRemoved', 'ChatSectionChanged', 'ContactChanged', 'CaughtUp', 'ResetRequired',
      ],
    },
  }],
  // The contract has plain lists beside the connections: a row's actions, a payload's errors, an error's path. And
  // an event of the log is found by its place there, not as a node: its id is that of the message it brought.
  '@graphql-eslint/relay-edge-types': ['error', { listTypeCanWrapOnlyEdgeType: false, shouldImplementNode: false }],
};

async function violations(rules) {
  const eslint = new ESLint({
    cwd: dirname(schemaFile),
    overrideConfigFile: true,
    overrideConfig: {
      files: ['**/*.graphql'],
      languageOptions: { parser: graphqlPlugin.parser, parserOptions: { graphQLConfig: { schema: schemaFile } } },
      plugins: { '@graphql-eslint': graphqlPlugin },
      rules,
    },
  });
  const [{ messages }] = await eslint.lintFiles(schemaFile);
  return messages.map(({ line, ruleId, message }) => `${line}: ${message} (${ruleId})`);
}

function rulesOf(preset) {
  return graphqlPlugin.configs[`flat/${preset}`].rules;
}

for (const preset of ['schema-recommended', 'schema-relay']) {
  test(`the schema follows ${preset}`, async () => {
    const rules = Object.entries(rulesOf(preset)).map(([rule, asked]) => [rule, exceptions[rule] ?? asked]);
    assert.deepEqual(await violations(Object.fromEntries(rules)), []);
  });
}

test('no exception is idle', async () => {
  const found = await violations({ ...rulesOf('schema-recommended'), ...rulesOf('schema-relay') });
  const [, { exceptions: { suffixes, types } }] = exceptions['@graphql-eslint/strict-id-in-types'];
  const excused = [...suffixes.map((suffix) => `${suffix}" must have`), ...types.map((type) => `"${type}" must have`), 'A list type should only wrap an edge type', 'must implement `Node` interface'];
  const idle = excused.filter((excuse) => !found.some((violation) => violation.includes(excuse)));
  assert.deepEqual(idle, []);
});
