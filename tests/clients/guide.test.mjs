// The front-end guide, run as it is printed. Its JavaScript is assembled in a temporary folder with the address of a
// service that was started for it, and must do what the guide says; its documents, answers and tables are compared.
// Waits on answers, events and exits.

import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { buildSchema, parse, validate } from 'graphql';
import WebSocket from 'ws';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const guide = readFileSync(at('../../docs/front-end.md'), 'utf8');
const schema = buildSchema(readFileSync(at('../../schema.graphql'), 'utf8'));
const ORIGIN = 'http://127.0.0.1:8080';
const LANGUAGES = ['graphql', 'js', 'json', 'sh'];
const PATIENCE = { timeout: 60_000 };

/** The fenced blocks, in order. */
const blocks = [...guide.matchAll(/^```(.*)\n([^]*?)^```$/gm)].map(([, language, text]) => ({ language, text }));
const isProgram = ({ language, text }) => language === 'js' && text.includes("from './chat.mjs'");
const chat = blocks.filter((block) => block.language === 'js' && !isProgram(block)).map(({ text }) => text).join('\n');

const run = promisify(execFile);
const binary = process.env.ENTRENOUS_BINARY;
const folder = mkdtempSync(join(tmpdir(), 'entrenous-guide-'));
const running = new Set();
process.once('exit', () => {
  running.forEach((child) => child.kill('SIGKILL'));
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => process.exit(1));
symlinkSync(at('node_modules'), join(folder, 'node_modules'));
writeFileSync(join(folder, 'platform.mjs'), "import WebSocket from 'ws';\nglobalThis.WebSocket = WebSocket;\n");

/** What the service said over each socket of the guide's client. */
const told = [];
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    this.addEventListener('message', ({ data }) => told.push({ url, ...JSON.parse(data) }));
  }
};

/** A service of its own for a test, stopped after it. */
class Service {
  static async start(t, ...options) {
    const service = Object.assign(new Service(), { options, data: mkdtempSync(join(folder, 'data-')) });
    await service.again();
    t.after(() => service.kill());
    return service;
  }

  async again() {
    assert.ok(binary, 'ENTRENOUS_BINARY names the binary to test');
    const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', this.data, ...this.options], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    this.exited = once(child, 'exit');
    running.add(child);
    child.once('exit', () => running.delete(child));
    let log = '';
    child.stderr.on('data', (text) => (log += text));
    const { value: greeting = '' } = await createInterface(child.stdout)[Symbol.asyncIterator]().next();
    [this.origin] = greeting.match(/http:\/\/127\.0\.0\.1:\d+/) ?? assert.fail(`no address in "${greeting}": ${log}`);
    this.key = readFileSync(join(this.data, 'token.key'), 'utf8');
  }

  kill(signal = 'SIGKILL') {
    this.child.kill(signal);
    return this.exited;
  }

  token(sub, claims = {}) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, roles: ['admin'], ...claims })}`;
    return `${signed}.${createHmac('sha256', this.key).update(signed).digest('base64url')}`;
  }

  /** A request's status, headers, and the code of its first error or else its data. */
  async post(body, { as = 'alice', headers = {}, ...more } = {}) {
    const answer = await fetch(`${this.origin}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(as && { authorization: `Bearer ${this.token(as)}` }), ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...more,
    });
    const { data, errors: [error] = [] } = await answer.json();
    return { status: answer.status, headers: answer.headers, data, error, code: error?.extensions.code };
  }

  /** The data of an operation; anything else fails the test. */
  async ask(as, query, variables) {
    const { data, error } = await this.post({ query, variables }, { as });
    assert.equal(error, undefined, JSON.stringify(error));
    return data;
  }

  async register(...people) {
    for (const person of people) await this.ask(person, '{ me { id } }');
  }

  /** Why a mutation was refused, if it was. */
  async refusal(as, name, input) {
    const type = `${name[0].toUpperCase()}${name.slice(1)}Input`;
    const data = await this.ask(as, `mutation($input: ${type}!) { ${name}(input: $input) { userErrors { code message } } }`, { input });
    return data[name].userErrors[0];
  }

  async command(as, name, input) {
    assert.equal(await this.refusal(as, name, input), undefined);
  }
}

/** A way to a service that can be cut, and lose or hold up answers. */
class Line {
  #pairs = new Set();
  #orders = [];
  isOpen = true;

  static async to(t, service) {
    const line = new Line();
    const server = createServer((near) => line.#pair(near, service)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    line.origin = `http://127.0.0.1:${server.address().port}`;
    t.after(() => {
      line.cut();
      server.close();
    });
    return line;
  }

  #pair(near, service) {
    if (!this.isOpen) return near.destroy();
    const far = connect(new URL(service.origin).port, '127.0.0.1');
    const pair = { near, far, isFrozen: false, then: (pass) => pass() };
    this.#pairs.add(pair);
    near.on('data', (chunk) => {
      const order = this.#orders.findIndex(({ text }) => chunk.includes(text));
      if (order >= 0) pair.then = this.#orders.splice(order, 1)[0].then;
      if (!pair.isFrozen) far.write(chunk);
    });
    far.on('data', (chunk) => pair.isFrozen || pair.then(() => near.write(chunk), () => near.destroy()));
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on('error', () => {});
      one.on('close', () => {
        this.#pairs.delete(pair);
        other.destroy();
      });
    }
  }

  cut() {
    for (const { near } of this.#pairs) near.destroy();
  }

  /** Everything that is open now stays so, and carries nothing any more. */
  freeze() {
    for (const pair of this.#pairs) pair.isFrozen = true;
  }

  /** The answer to the next request with this text is lost on the way. */
  lose(text) {
    this.#orders.push({ text, then: (_pass, fail) => fail() });
  }

  /** The same answer waits, once it is there, to be released. */
  hold(text) {
    const held = {};
    held.answered = new Promise((resolve) => (held.isAnswered = resolve));
    const released = new Promise((resolve) => (held.release = resolve));
    const then = (pass) => {
      held.isAnswered();
      released.then(pass);
    };
    this.#orders.push({ text, then });
    return held;
  }
}

/** Writes the guide's file for a service, or for the line to it. */
function assemble({ origin }) {
  const place = mkdtempSync(join(folder, 'chat-'));
  writeFileSync(join(place, 'chat.mjs'), chat.replaceAll(ORIGIN, origin));
  return place;
}

/** The guide's client, loaded for somebody, signed in by name. */
async function client(through, name) {
  const loaded = await import(pathToFileURL(join(assemble(through), 'chat.mjs')));
  await loaded.signIn(loaded.byName(name));
  return loaded;
}

/** Follows the inbox until the end of the test. */
function following(t, chat, transport) {
  const leaving = new AbortController();
  const over = chat.follow(leaving.signal, transport);
  t.after(() => {
    leaving.abort();
    return over;
  });
  return Promise.race([over, until(chat, () => isUpToDate(chat))]);
}

const isUpToDate = ({ store }) => store.online && store.loaded;

/** Until what is kept satisfies the condition. */
function until({ store }, condition) {
  return new Promise((resolve) => {
    store.changed = () => condition() && resolve();
    store.changed();
  });
}

/** All that a client keeps and draws. */
function kept({ store, list, lines }) {
  const rows = list().map((row) => ({ ...row, contact: store.users.get(row.contact) }));
  const histories = Object.fromEntries([...store.histories.keys()].sort().map((contact) => [contact, lines(contact)]));
  return { rows, histories, section: store.section };
}

/** A client that followed keeps what one keeps that comes now. */
async function assertAsRead(t, service, name, chat) {
  const fresh = await client(service, name);
  await following(t, fresh);
  for (const contact of chat.store.histories.keys()) await fresh.readHistory(contact);
  assert.deepEqual(kept(chat), kept(fresh));
}

const texts = (chat, contact) => chat.lines(contact).map(({ text }) => text);
const hasText = (chat, contact, text) => () => texts(chat, contact).includes(text);
const parsedLines = (text) => text.trim().split('\n').map((line) => JSON.parse(line));
/** The first column of the table whose header begins so, without its backquotes. */
const column = (header) => {
  const rows = guide.split(`\n| ${header} |`)[1].split('\n\n')[0].split('\n').slice(2);
  return rows.map((row) => row.split('|')[1].trim().replaceAll('`', ''));
};

test('every block has a language that is run or compared here', () => {
  assert.equal(guide.match(/^\s*(```|~~~)/gm).length, 2 * blocks.length);
  for (const { language } of blocks) assert.ok(LANGUAGES.includes(language), `"${language}"`);
});

test('every GraphQL document is valid', () => {
  const constants = Object.fromEntries([...chat.matchAll(/^const (\w+) = \/\* GraphQL \*\/ `([^`]*)`/gm)].map(([, name, text]) => [name, text]));
  const { FRAGMENTS, ...documents } = constants;
  assert.deepEqual(Object.keys(documents), ['LIST', 'HISTORY', 'SEND', 'INBOX']);
  const printed = blocks.filter(({ language }) => language === 'graphql').map(({ text }) => text);
  assert.ok(printed.length > 0);
  for (const document of [...printed, ...Object.values(documents)]) {
    assert.deepEqual(validate(schema, parse(document.replace('${FRAGMENTS}', FRAGMENTS))), [], document);
  }
});

test('the shell and the programs print what the guide says', PATIENCE, async (t) => {
  const service = await Service.start(t);
  const place = assemble(service);
  let compared = 0;
  for (const [number, block] of blocks.entries()) {
    const text = block.text.replaceAll(ORIGIN, service.origin);
    let printed;
    if (block.language === 'sh') printed = await run('bash', ['-euo', 'pipefail', '-c', text]);
    if (isProgram(block)) {
      writeFileSync(join(place, 'program.mjs'), text);
      printed = await run(process.execPath, ['--import', pathToFileURL(join(folder, 'platform.mjs')), join(place, 'program.mjs')]);
    }
    if (!printed) continue;
    assert.equal(blocks[number + 1].language, 'json', 'what it prints is printed below it');
    assert.deepEqual(parsedLines(printed.stdout), parsedLines(blocks[number + 1].text), block.text);
    compared += 1;
  }
  // All but the file of trusted documents, which has a test of its own.
  assert.equal(compared, blocks.filter(({ language }) => language === 'json').length - 1);
});

test('a list is read forward and a history backward, page by page', PATIENCE, async (t) => {
  const service = await Service.start(t, '--send-rate', '0');
  const people = Array.from({ length: 120 }, (_, number) => ({ id: `person-${number}`, name: `Person ${number}` }));
  const alice = await client(service, 'Alice');
  await following(t, alice);
  await service.command('alice', 'registerUsers', { users: people });
  for (const { id } of people) await alice.send(id, 'salut');
  await until(alice, () => alice.store.outbox.size === 0);
  const fresh = await client(service, 'Alice');
  await following(t, fresh);
  assert.deepEqual(fresh.list().map(({ contact }) => contact), people.map(({ id }) => id));

  const said = Array.from({ length: 120 }, (_, number) => `${number}`);
  for (const text of said) await service.command('person-0', 'sendMessage', { to: 'alice', text });
  for (const [older, from] of [[false, 71], [true, 21], [true, 0]]) {
    await alice.readHistory('person-0', older);
    assert.deepEqual(texts(alice, 'person-0'), ['salut', ...said].slice(from));
    assert.equal(alice.store.histories.get('person-0').pageInfo.hasPreviousPage, from > 0);
  }
  assert.equal(alice.store.outbox.size, 0);
});

test('what comes while a history is read is not lost', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const line = await Line.to(t, service);
  const alice = await client(line, 'Alice');
  await following(t, alice);
  await service.command('bob', 'sendMessage', { to: 'alice', text: 'un' });
  await until(alice, () => alice.list().length === 1);
  const history = line.hold('query History');
  const read = alice.readHistory('bob');
  await history.answered;
  await service.command('bob', 'sendMessage', { to: 'alice', text: 'deux' });
  await until(alice, hasText(alice, 'bob', 'deux'));
  history.release();
  await read;
  assert.deepEqual(texts(alice, 'bob'), ['un', 'deux']);
});

test('a late answer leaves a row as the inbox told it meanwhile', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const line = await Line.to(t, service);
  const alice = await client(line, 'Alice');
  await following(t, alice);
  const late = async (document, request, meanwhile, condition) => {
    const held = line.hold(document), answer = request();
    await held.answered;
    await meanwhile();
    await until(alice, condition);
    held.release();
    await answer;
  };
  const last = () => alice.list()[0]?.lastMessage.text;
  await late('mutation Send', () => alice.send('bob', 'un'), () => service.command('bob', 'sendMessage', { to: 'alice', text: 'deux' }), () => last() === 'deux');
  assert.equal(last(), 'deux');
  await late('query History', () => alice.readHistory('bob'), () => service.command('alice', 'blockUser', { userId: 'bob' }), () => alice.list()[0].blocked);
  assert.equal(alice.list()[0].blocked, true);
  await service.command('alice', 'unblockUser', { userId: 'bob' });
  await until(alice, () => !alice.list()[0].blocked);
  await late('mutation Send', () => alice.send('bob', 'trois'), () => service.command('alice', 'deleteConversation', { with: 'bob' }), () => alice.list().length === 0);
  assert.deepEqual(alice.list(), []);
  await assertAsRead(t, service, 'Alice', alice);
});

test('an id is the same in upper case', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const alice = await client(service, 'Alice');
  await following(t, alice);
  await alice.readHistory('bob');
  await alice.send('bob', 'une fois', randomUUID().toUpperCase());
  await until(alice, () => alice.store.outbox.size === 0 && hasText(alice, 'bob', 'une fois')());
  assert.deepEqual(texts(alice, 'bob'), ['une fois']);
});

test('a send is drawn at once, and made once though its answer was lost', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const line = await Line.to(t, service);
  const alice = await client(line, 'Alice');
  await following(t, alice);
  await alice.readHistory('bob');
  line.lose('sendMessage');
  const sent = alice.send('bob', 'une seule fois');
  assert.deepEqual(alice.lines('bob').map(({ text, sentAt }) => [text, sentAt]), [['une seule fois', null]]);
  assert.equal((await sent).refusal, null);
  await until(alice, () => alice.store.outbox.size === 0);
  assert.deepEqual(texts(alice, 'bob'), ['une seule fois']);
  await assertAsRead(t, service, 'Alice', alice);
});

test('a send whose service is away arrives when it is back', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const line = await Line.to(t, service);
  const alice = await client(line, 'Alice');
  line.isOpen = false;
  line.cut();
  const sent = alice.send('bob', 'attends-moi');
  await service.kill();
  await service.again();
  line.isOpen = true;
  assert.ok((await sent).sentAt);
  await alice.readHistory('bob');
  assert.deepEqual([texts(alice, 'bob'), alice.store.outbox.size], [['attends-moi'], 0]);
});

test('a refused send is not tried again, and keeps its text and the reason', PATIENCE, async (t) => {
  const service = await Service.start(t);
  const alice = await client(service, 'Alice');
  const { text, refusal } = await alice.send('nobody', 'bonjour');
  assert.deepEqual([text, refusal.code, refusal.field], ['bonjour', 'USER_NOT_FOUND', ['input', 'to']]);
  assert.ok(refusal.message);
  assert.deepEqual(texts(alice, 'nobody'), ['bonjour']);
});

test('who sends too fast waits as long as the service says, and all arrives', PATIENCE, async (t) => {
  const service = await Service.start(t, '--send-rate', '1');
  await service.register('bob');
  const alice = await client(service, 'Alice');
  const sent = await Promise.all(Array.from({ length: 7 }, (_, number) => alice.send('bob', `${number}`)));
  assert.ok(sent.every(({ sentAt, refusal }) => sentAt && !refusal));
  await alice.readHistory('bob');
  assert.deepEqual(texts(alice, 'bob').sort(), ['0', '1', '2', '3', '4', '5', '6']);
});

/** What others and another device do to Alice, who follows. `between` is done before each of it. */
async function asItIs(t, transport, between) {
  const service = await Service.start(t);
  await service.register('bob', 'carol', 'dora');
  const line = await Line.to(t, service);
  const alice = await client(line, 'Alice');
  await following(t, alice, alice[transport]);
  for (const contact of ['bob', 'carol']) await alice.readHistory(contact);
  const steps = [
    ['alice', 'configureChatSection', { title: 'Messagerie', listTemplate: 2, detailTemplate: 3 }],
    ['bob', 'sendMessage', { to: 'alice', text: 'un' }],
    ['carol', 'sendMessage', { to: 'alice', text: 'deux' }],
    ['alice', 'sendMessage', { to: 'bob', text: 'trois' }],
    ['alice', 'markAsRead', { with: 'bob' }],
    ['alice', 'blockUser', { userId: 'carol' }],
    ['carol', 'sendMessage', { to: 'alice', text: 'quatre' }],
    ['alice', 'unblockUser', { userId: 'carol' }],
    ['carol', 'updateProfile', { name: 'Caroline' }],
    ['dora', 'sendMessage', { to: 'alice', text: 'cinq' }],
    ['carol', 'sendMessage', { to: 'alice', text: 'six' }],
    ['bob', 'toggleContactable', { contactable: false }],
    ['alice', 'deleteConversation', { with: 'dora' }],
    ['alice', 'openConversation', { with: 'dora' }],
  ];
  for (const [person, command, input] of steps) {
    await between(line, alice, service);
    await service.command(person, command, input);
  }
  line.isOpen = true;
  await service.command('bob', 'sendMessage', { to: 'alice', text: 'fin' });
  await until(alice, () => isUpToDate(alice) && hasText(alice, 'bob', 'fin')());
  await assertAsRead(t, service, 'Alice', alice);
  assert.deepEqual(texts(alice, 'carol'), ['deux', 'quatre', 'six']);
}

/** Until all that was done so far is told: a last thing is done, and waited for. */
async function catchUp(_line, alice, service) {
  const name = `Alice ${randomUUID()}`;
  await service.command('alice', 'updateProfile', { name });
  await until(alice, () => alice.store.users.get('alice')?.name === name);
}

function breakOff(line) {
  line.cut();
}

function stayAway(line) {
  line.isOpen = false;
  line.cut();
}

const transports = [['overWebSocket', 'over a WebSocket'], ['overEvents', 'over server-sent events']];
const times = [[catchUp, 'as it is done'], [breakOff, 'through one break after another'], [stayAway, 'after a time away']];
for (const [transport, over] of transports) {
  for (const [between, when] of times) {
    test(`the store has what others and other devices did, ${over}, ${when}`, PATIENCE, async (t) => {
      await asItIs(t, transport, between);
    });
  }
}

test('nothing is told twice when the socket breaks', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const line = await Line.to(t, service);
  await service.register('alice');
  const alice = await client(line, 'Alice');
  await service.command('bob', 'sendMessage', { to: 'alice', text: 'avant' });
  await following(t, alice);
  await alice.readHistory('bob');
  const said = Array.from({ length: 10 }, (_, number) => `${number}`);
  for (const text of said) {
    await service.command('bob', 'sendMessage', { to: 'alice', text });
    line.cut();
  }
  await until(alice, () => isUpToDate(alice) && hasText(alice, 'bob', '9')());
  const socket = `${line.origin.replace('http', 'ws')}/graphql`;
  const added = told.flatMap(({ url, payload }) => (url === socket && payload?.data?.inbox.message?.text) || []);
  assert.deepEqual(added, said);
  assert.deepEqual(texts(alice, 'bob'), ['avant', ...said]);
});

test('a conversation that comes back has its whole history', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const alice = await client(service, 'Alice');
  await following(t, alice);
  await service.command('bob', 'sendMessage', { to: 'alice', text: 'un' });
  await service.command('alice', 'deleteConversation', { with: 'bob' });
  await service.command('alice', 'toggleContactable', { contactable: false });
  await until(alice, () => alice.store.users.get('alice')?.contactable === false);
  await alice.readHistory('bob');
  assert.deepEqual([texts(alice, 'bob'), alice.list()], [[], []]);
  await alice.send('bob', 'deux');
  await until(alice, () => alice.store.outbox.size === 0);
  assert.deepEqual(texts(alice, 'bob'), ['un', 'deux']);
  await assertAsRead(t, service, 'Alice', alice);
  await service.command('alice', 'deleteConversation', { with: 'bob' });
  await until(alice, () => alice.list().length === 0);
  assert.deepEqual(texts(alice, 'bob'), []);
  await alice.readHistory('bob');
  await service.command('bob', 'sendMessage', { to: 'alice', text: 'trois' });
  await until(alice, hasText(alice, 'bob', 'trois'));
  await assertAsRead(t, service, 'Alice', alice);
});

test('who comes back after a restart of the service is told what was missed', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const line = await Line.to(t, service);
  const alice = await client(line, 'Alice');
  await following(t, alice);
  await alice.readHistory('bob');
  await service.kill('SIGTERM');
  line.isOpen = false;
  await service.again();
  await service.command('bob', 'sendMessage', { to: 'alice', text: 'entre-temps' });
  line.isOpen = true;
  await until(alice, hasText(alice, 'bob', 'entre-temps'));
  await assertAsRead(t, service, 'Alice', alice);
});

test('who missed too much reads everything afresh', PATIENCE, async (t) => {
  const service = await Service.start(t, '--resume-limit', '5');
  await service.register('bob', 'carol');
  const line = await Line.to(t, service);
  const alice = await client(line, 'Alice');
  await alice.send('carol', 'avant de suivre');
  await following(t, alice);
  assert.equal(alice.store.outbox.size, 0);
  await alice.readHistory('bob');
  line.isOpen = false;
  line.cut();
  await service.command('alice', 'deleteConversation', { with: 'carol' });
  for (let number = 0; number < 7; number += 1) await service.command('bob', 'sendMessage', { to: 'alice', text: `${number}` });
  line.isOpen = true;
  await until(alice, () => isUpToDate(alice) && hasText(alice, 'bob', '6')());
  assert.ok(told.some(({ payload }) => payload?.data?.inbox?.__typename === 'ResetRequired'));
  assert.deepEqual(texts(alice, 'bob'), ['0', '1', '2', '3', '4', '5', '6']);
  await assertAsRead(t, service, 'Alice', alice);
});

for (const [transport, over] of transports) {
  test(`a token that ends is followed by the next, in a request and ${over}`, PATIENCE, async (t) => {
    const service = await Service.start(t);
    const alice = await client(service, 'Alice');
    let given = 0;
    const now = Math.floor(Date.now() / 1_000);
    const ends = [now - 1, now + 4, now + 3_600];
    await alice.signIn(async () => service.token('alice', { exp: ends[given++] }));
    await alice.ask('{ me { id } }');
    assert.equal(given, 2);
    await following(t, alice, alice[transport]);
    await until(alice, () => !alice.store.online);
    await until(alice, () => alice.store.online);
    assert.equal(given, 3);
  });

  test(`a token that cannot be had now is asked for again, in a send and ${over}`, PATIENCE, async (t) => {
    const service = await Service.start(t);
    await service.register('bob');
    const alice = await client(service, 'Alice');
    const tokens = ['ended', null, service.token('alice'), 'ended', null, service.token('alice')];
    const next = async () => tokens.shift() ?? assert.fail('the application is away');
    await alice.signIn(next);
    assert.ok((await alice.send('bob', 'un peu plus tard')).sentAt);
    await alice.signIn(next);
    await following(t, alice, alice[transport]);
    assert.deepEqual([tokens, alice.store.outbox.size], [[], 0]);
  });

  test(`who cannot get a token that is accepted is told so, in a request and ${over}`, PATIENCE, async (t) => {
    const service = await Service.start(t);
    const alice = await client(service, 'Alice');
    await alice.signIn(async () => 'not a token');
    await assert.rejects(alice.ask('{ me { id } }'), { code: 'UNAUTHENTICATED' });
    await assert.rejects(alice.follow(new AbortController().signal, alice[transport]), (reason) => reason.code === 4403 || reason.response.status === 401);
  });
}

test('a socket that the network forgot is noticed', PATIENCE, async (t) => {
  const service = await Service.start(t);
  await service.register('bob');
  const line = await Line.to(t, service);
  const alice = await client(line, 'Alice');
  await following(t, alice);
  await alice.readHistory('bob');
  line.freeze();
  await service.command('bob', 'sendMessage', { to: 'alice', text: 'tu es là ?' });
  await until(alice, hasText(alice, 'bob', 'tu es là ?'));
});

test('every code of a top-level error comes when the table says, and no other', PATIENCE, async (t) => {
  const documents = join(folder, 'documents.json');
  const [trusted] = blocks.filter(({ language, text }) => language === 'json' && text.startsWith('{"me"'));
  writeFileSync(documents, trusted.text);
  const service = await Service.start(t, '--send-rate', '1', '--user-limit', '2');
  const strict = await Service.start(t, '--trusted-documents', documents, '--trusted-documents-only', '--introspection', 'off');
  const slow = await Service.start(t, '--request-timeout', '1ms');
  const many = Array.from({ length: 1_000 }, (_, number) => ({ id: `person-${number}`, name: `Person ${number}` }));
  const long = { query: 'mutation($users: [NewUserInput!]!) { registerUsers(input: { users: $users }) { users { id } } }', variables: { users: many } };
  await service.register('alice', 'bob');
  const send = { query: 'mutation($text: String!) { sendMessage(input: { to: "bob", text: $text }) { message { id } } }', variables: { text: 'vite' } };
  for (let number = 0; number < 5; number += 1) await service.post(send);
  const deep = `{ me { ${'conversation { contact { '.repeat(8)} id ${'} } '.repeat(8)} } }`;
  const wide = '{ conversations(first: 100) { edges { node { messages(first: 100) { edges { node { text } } } } } } }';
  const aliases = Array.from({ length: 101 }, (_, number) => `a${number}: __typename`).join(' ');
  const query = '{ me { id } }';
  const nobody = { headers: { authorization: `Bearer ${service.token('alice', { roles: [] })}` } };
  const cases = [
    ['GRAPHQL_PARSE_FAILED', service.post({ query: '{' }), 200],
    ['GRAPHQL_PARSE_FAILED', service.post({ query: '{' }, { headers: { accept: 'application/graphql-response+json' } }), 400],
    ['GRAPHQL_VALIDATION_FAILED', service.post({ query: '{ nothing }' })],
    ['UNAUTHENTICATED', service.post({ query }, { as: null }), 401],
    ['FORBIDDEN', service.post({ query: 'mutation { configureChatSection(input: {}) { userErrors { code } } }' }, nobody)],
    ['FORBIDDEN', strict.post({ query })],
    ['FORBIDDEN', strict.post({ query: '{ __schema { queryType { name } } }' })],
    ['BAD_USER_INPUT', service.post({ ...send, variables: { text: 7 } })],
    ['BAD_USER_INPUT', service.post({ query: '{ users(first: 101) { edges { cursor } } }' })],
    ['BAD_USER_INPUT', service.post({ query: '{ users(after: "x") { edges { cursor } } }' })],
    ['BAD_USER_INPUT', service.post('{'), 400],
    ['BAD_USER_INPUT', service.post([{ query }]), 400],
    ['BAD_USER_INPUT', service.post({}, { method: 'PUT' }), 405],
    ['BAD_USER_INPUT', service.post({ query }, { headers: { accept: 'text/html' } }), 406],
    ['BAD_USER_INPUT', service.post({ query, variables: { long: 'x'.repeat(2 << 20) } }), 413],
    ['BAD_USER_INPUT', service.post({ query }, { headers: { 'content-type': 'text/plain' } }), 415],
    ['QUERY_TOO_COMPLEX', service.post({ query: deep })],
    ['QUERY_TOO_COMPLEX', service.post({ query: wide })],
    ['QUERY_TOO_COMPLEX', service.post({ query: `{ ${aliases} }` })],
    ['QUERY_TOO_COMPLEX', service.post({ query: `{ me { id ${'@include(if: true) '.repeat(101)} } }` })],
    ['RATE_LIMITED', service.post(send), 429],
    ['USER_LIMIT_REACHED', service.post({ query }, { as: 'one-too-many' }), 403],
    ['PERSISTED_QUERY_NOT_FOUND', service.post({ extensions: { persistedQuery: { version: 1, sha256Hash: '0'.repeat(64) } } })],
    ['PERSISTED_QUERY_NOT_FOUND', strict.post({ documentId: 'unheard' })],
    ['UNAVAILABLE', slow.post(long), 503],
  ];
  for (const [number, [code, answer, status]] of cases.entries()) {
    const given = await answer;
    assert.deepEqual([given.code, given.status], [code, status ?? given.status], `case ${number}: ${JSON.stringify(given.error)}`);
    if (code !== 'RATE_LIMITED') continue;
    assert.deepEqual([given.headers.get('retry-after'), given.error.extensions.retryAfter], ['1', 1]);
  }
  // A fault of the service cannot be had by asking for it.
  assert.deepEqual(column('`extensions.code`').sort(), [...new Set([...cases.map(([code]) => code), 'INTERNAL'])].sort());
  assert.deepEqual((await strict.post({ documentId: 'me' })).data, { me: { id: 'alice', name: 'alice' } });
});

test('every code of a refusal comes when the table says', PATIENCE, async (t) => {
  const service = await Service.start(t, '--send-rate', '0', '--user-limit', '4');
  await service.register('alice', 'bob', 'carol', 'dora');
  const send = (text, to = 'bob', messageId) => ['sendMessage', { to, text, messageId }];
  const id = randomUUID();
  for (const [person, command, input] of [
    ['carol', 'toggleContactable', { contactable: false }],
    ['alice', ...send('salut', 'bob', id)],
    ['alice', ...send('salut', 'dora')],
    ['alice', 'blockUser', { userId: 'dora' }],
  ]) await service.command(person, command, input);
  const blocked = await service.refusal('alice', ...send('salut', 'dora'));
  await service.command('alice', 'deleteConversation', { with: 'dora' });
  const refusals = {
    CONTACT_BLOCKED: blocked,
    TEXT_EMPTY: await service.refusal('alice', ...send(' \n ')),
    TEXT_TOO_LONG: await service.refusal('alice', ...send('é'.repeat(2_001))),
    TEXT_HAS_EMOJI: await service.refusal('alice', ...send('salut 👋')),
    TEXT_HAS_URL: await service.refusal('alice', ...send('voir exemple.fr')),
    TEXT_HAS_CONTROL_CHARACTER: await service.refusal('alice', ...send('a\u0007b')),
    SELF: await service.refusal('alice', ...send('salut', 'alice')),
    USER_NOT_FOUND: await service.refusal('alice', ...send('salut', 'nobody')),
    NOT_CONTACTABLE: await service.refusal('alice', ...send('salut', 'carol')),
    CONVERSATION_NOT_FOUND: await service.refusal('alice', 'deleteConversation', { with: 'carol' }),
    CONVERSATION_DELETED: await service.refusal('alice', 'unblockUser', { userId: 'dora' }),
    MESSAGE_NOT_FOUND: await service.refusal('alice', 'markAsRead', { with: 'bob', upTo: randomUUID() }),
    MESSAGE_ID_REUSED: await service.refusal('alice', ...send('autre chose', 'bob', id)),
    USER_LIMIT_REACHED: await service.refusal('alice', 'registerUsers', { users: [{ id: 'one-too-many', name: 'X' }] }),
    INVALID_INPUT: await service.refusal('alice', 'updateProfile', { name: '' }),
  };
  for (const [code, refusal] of Object.entries(refusals)) assert.equal(refusal?.code, code);
  const codes = schema.getType('UserErrorCode').getValues().map(({ name }) => name);
  assert.deepEqual(column('`UserErrorCode`'), codes);
  assert.deepEqual(Object.keys(refusals).sort(), codes.sort());
  for (const fine of [':-)', 'jean@exemple.fr', 'x'.repeat(2_000), 'a\n\tb']) await service.command('alice', ...send(fine));
});

test('every close code comes when the table says', PATIENCE, async (t) => {
  const service = await Service.start(t, '--max-sockets', '1');
  const init = { type: 'connection_init', payload: { authorization: `Bearer ${service.token('alice')}` } };
  const inbox = { id: '1', type: 'subscribe', payload: { query: 'subscription { inbox { __typename } }' } };
  const open = (protocol = 'graphql-transport-ws') => new WebSocket(`${service.origin.replace('http', 'ws')}/graphql`, protocol);
  const say = (message) => (socket) => socket.send(JSON.stringify(message));
  const raw = (...frames) => (socket) => frames.forEach(([data, options]) => socket.send(data, { binary: false, ...options }));
  const closedAfter = async (says, ...protocol) => {
    const socket = open(...protocol);
    socket.on('open', () => says.forEach((say) => say(socket)));
    const [code] = await once(socket, 'close');
    return code;
  };
  const codes = {
    1002: await closedAfter([(socket) => socket._socket.write(Buffer.from([0x81, 0]))]), // not masked
    1007: await closedAfter([raw([Buffer.from([0xff])])]),
    // In two frames: what is still unread when a socket is closed can take the close frame with it.
    1009: await closedAfter([say(init), raw(['x'.repeat(1 << 20), { fin: false }], ['x'])]),
    4400: await closedAfter([raw(['not of the protocol'])]),
    4401: await closedAfter([say(inbox)]),
    4403: await closedAfter([say({ ...init, payload: {} })]),
    4406: await closedAfter([], []),
    4408: await closedAfter([]),
    4409: await closedAfter([say(init), say(inbox), say(inbox)]),
    4429: await closedAfter([say(init), say(init)]),
  };
  const first = open();
  first.on('open', () => say(init)(first));
  await once(first, 'message');
  codes[1013] = await closedAfter([say(init)]);
  const closed = once(first, 'close');
  await service.kill('SIGTERM');
  codes[1001] = (await closed)[0];
  for (const [code, given] of Object.entries(codes)) assert.equal(given, Number(code));
  assert.deepEqual(column('close code').flatMap((cell) => cell.split(', ')), Object.keys(codes));
});

test('every option of the guide is one, with the default of its table', () => {
  const help = execFileSync(binary, ['serve', '--help'], { encoding: 'utf8' });
  const options = new Map(help.split(/^ +(?=--)/m).map((entry) => [entry.split(/\s/)[0], entry]));
  for (const [option] of guide.matchAll(/--[a-z][a-z-]+/g)) assert.ok(options.has(option), option);
  for (const row of guide.split('\n| option |')[1].split('\n\n')[0].split('\n').slice(2)) {
    const [, option, usual] = row.split('|').map((cell) => cell.trim().replaceAll('`', ''));
    if (usual) assert.ok(options.get(option).includes(`[default: ${usual}]`), options.get(option));
  }
});

test('a hash stands for its document once it was sent along', PATIENCE, async (t) => {
  const service = await Service.start(t);
  const query = '{ me { id } }';
  const extensions = { persistedQuery: { version: 1, sha256Hash: createHash('sha256').update(query).digest('hex') } };
  assert.equal((await service.post({ extensions })).code, 'PERSISTED_QUERY_NOT_FOUND');
  for (const body of [{ query, extensions }, { extensions }]) assert.deepEqual((await service.post(body)).data, { me: { id: 'alice' } });
});

test('messages for people are in the language that they read', PATIENCE, async (t) => {
  const service = await Service.start(t);
  const query = 'mutation { sendMessage(input: { to: "nobody", text: "bonjour" }) { userErrors { message } } }';
  const said = async (language) => {
    const headers = { 'accept-language': language };
    const refusal = await service.post({ query }, { headers });
    const error = await service.post({ query: '{ me { id } }' }, { as: null, headers });
    return [refusal.data.sendMessage.userErrors[0].message, error.error.message];
  };
  const [english, french] = [await said('en'), await said('fr-CA, fr;q=0.9, en;q=0.5')];
  for (const kind of [0, 1]) assert.notEqual(english[kind], french[kind]);
});
