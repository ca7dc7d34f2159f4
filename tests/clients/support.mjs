// The service as a process of its own, in a folder of its own, and people with tokens for it.
// Waits on lines, answers and exits; never on a clock.

import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const schemaFile = fileURLToPath(new URL('../../schema.graphql', import.meta.url));
export const here = fileURLToPath(new URL('.', import.meta.url));

const running = new Set();
// A run that is cut short, by a time limit or by hand, leaves nothing behind.
process.once('exit', () => running.forEach((service) => service.abandon()));
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => process.exit(1));

/** A running service. `stop` it after the test. */
export class Service {
  #child;
  #data;
  #key;
  #exited;
  #options;

  static async start(...options) {
    const service = new Service();
    service.#options = options;
    running.add(service);
    service.#data = await folder();
    await service.#serve('127.0.0.1:0');
    service.#key = await readFile(join(service.#data, 'token.key'));
    return service;
  }

  async #serve(listen) {
    const binary = process.env.ENTRENOUS_BINARY;
    if (!binary) throw new Error('ENTRENOUS_BINARY must name the binary to test');
    const child = spawn(binary, ['serve', '--listen', listen, '--data', this.#data, '--send-rate', '0', ...this.#options], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#exited = once(child, 'exit');
    let log = '';
    child.stderr.on('data', (text) => (log += text));
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const { value: greeting = '' } = await lines.next();
    const address = /http:\/\/127\.0\.0\.1:\d+/.exec(greeting);
    if (!address) throw new Error(`no address in "${greeting}": ${log}`);
    this.url = address[0];
    this.graphql = `${this.url}/graphql`;
    this.socket = this.graphql.replace('http', 'ws');
  }

  /** SIGKILL, in the middle of whatever it does. */
  async kill() {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** The same data at the same address, after a kill. */
  async again() {
    await this.#serve(new URL(this.url).host);
  }

  async stop() {
    await this.kill();
    await rm(this.#data, { recursive: true });
    running.delete(this);
  }

  abandon() {
    this.#child?.kill('SIGKILL');
    if (this.#data) rmSync(this.#data, { recursive: true, force: true });
  }

  /** Whoever is called `admin` is an administrator. */
  token(id, claims = {}) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const exp = Math.floor(Date.now() / 1_000) + 3_600;
    const roles = id === 'admin' ? ['admin'] : [];
    const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: id, name: id, exp, roles, ...claims })}`;
    return `${signed}.${createHmac('sha256', this.#key).update(signed).digest('base64url')}`;
  }

  authorization(id) {
    return { authorization: `Bearer ${this.token(id)}` };
  }

  /** What a plain POST answers as data; anything else fails the test. */
  async ask(id, query, variables) {
    const response = await fetch(this.graphql, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...this.authorization(id) },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = await response.json();
    if (errors) throw new Error(JSON.stringify(errors));
    return data;
  }

  /** People who are registered, and so can be written to. */
  async register(...ids) {
    for (const id of ids) await this.ask(id, '{ me { id } }');
  }

  /** `messageId` makes it safe to send again. */
  async send(from, to, text, messageId) {
    const { sendMessage } = await this.ask(from, sendDocument, { input: { to, text, messageId } });
    if (sendMessage.userErrors.length > 0) throw new Error(JSON.stringify(sendMessage.userErrors));
  }
}

export const sendDocument = `mutation ($input: SendMessageInput!) {
  sendMessage(input: $input) { message { text } userErrors { code } }
}`;

/** All that one operation answers, to its end: both streaming clients iterate alike. */
export async function answers(client, query, variables) {
  const results = [];
  for await (const result of client.iterate({ query, variables })) results.push(result);
  return results;
}

/** A new temporary folder. */
export function folder() {
  return mkdtemp(join(tmpdir(), 'entrenous-'));
}
