// The documents of a TypeScript app, in codegen/: graphql-codegen types them, and the compiler holds the app to the types.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { generate } from '@graphql-codegen/cli';
import { preset } from '@graphql-codegen/client-preset';

import { folder, here, schemaFile } from './support.mjs';

let app;
before(async () => {
  app = await folder();
  await cp(join(here, 'codegen'), app, { recursive: true });
  await symlink(join(here, 'node_modules'), join(app, 'node_modules'));
});
after(() => rm(app, { recursive: true }));

test('a strict app compiles with the types of its documents', async () => {
  const client = { preset, config: { strictScalars: true, scalars: { DateTime: 'string' } } };
  await generate({ cwd: here, schema: schemaFile, documents: join(app, 'documents.ts'), generates: { [`${app}/gql/`]: client }, silent: true });

  const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'preserve'];
  const compiler = spawn(process.execPath, [join(here, 'node_modules/typescript/bin/tsc'), ...options, join(app, 'app.ts')]);
  const [errors, [code]] = await Promise.all([text(compiler.stdout), once(compiler, 'exit')]);
  assert.equal(errors, '');
  assert.equal(code, 0);
});
