// A consumer of the inbox subscription, as a front end would write it over a client that reconnects by itself,
// and the trial that it has to stand: a restart of the service in the middle of sending.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';

const document = `subscription ($after: String) {
  inbox(after: $after) {
    __typename
    ... on MessageAdded { cursor message { text } }
    ... on ConversationChanged { cursor }
    ... on ConversationRemoved { cursor }
    ... on ChatSectionChanged { cursor }
    ... on ContactChanged { cursor }
    ... on CaughtUp { cursor }
    ... on ResetRequired { cursor }
  }
}`;

/** Everything that came, in its order, whatever became of the connections meanwhile. */
export class Inbox {
  events = [];
  #news = new EventEmitter();
  #end;

  constructor(client) {
    let cursor;
    // The clients write the request anew at every connection: a getter gives them the last cursor seen.
    const request = { query: document, variables: { get after() { return cursor; } } };
    this.close = client.subscribe(request, {
      next: ({ data, errors }) => {
        if (errors) return this.#ended(errors);
        cursor = data.inbox.cursor;
        this.events.push(data.inbox);
        this.#news.emit('more');
      },
      error: (reason) => this.#ended(reason),
      complete: () => this.#ended('the service completed it'),
    });
  }

  #ended(reason) {
    this.#end = new Error('the inbox ended', { cause: reason });
    this.#news.emit('more');
  }

  /** Waits until what has come satisfies the condition. */
  async until(condition) {
    while (!condition()) {
      if (this.#end) throw this.#end;
      await once(this.#news, 'more');
    }
  }

  get caughtUp() {
    return this.events.filter(({ __typename }) => __typename === 'CaughtUp').length;
  }

  get texts() {
    return this.events.filter(({ __typename }) => __typename === 'MessageAdded').map(({ message }) => message.text);
  }
}

/** What holds somebody back until it is opened. */
export function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { open, opened };
}

/** Carol writes to Dave, whose inbox this is; the service is killed and started again meanwhile. */
export async function restartWhileSending(service, inbox, daveMayReconnect) {
  const started = gate();
  const send = async (text) => {
    const id = randomUUID();
    try {
      await service.send('carol', 'dave', text, id);
    } catch (refusal) {
      // Of a broken connection nobody knows whether the message arrived: the same id makes it safe to ask again.
      if (!(refusal instanceof TypeError)) throw refusal;
      await started.opened;
      await service.send('carol', 'dave', text, id);
    }
  };

  await inbox.until(() => inbox.caughtUp === 1);
  const during = Array.from({ length: 40 }, (_, number) => `during ${number}`).map(send);
  await inbox.until(() => inbox.texts.length >= 5);
  await service.kill();
  await service.again();
  started.open();
  await Promise.all(during);
  await send('before Dave is back');
  daveMayReconnect();
  await inbox.until(() => inbox.caughtUp === 2);
  await send('after');
  await inbox.until(() => inbox.texts.includes('after'));

  const { conversation } = await service.ask('dave', '{ conversation(with: "carol") { messages(last: 100) { edges { node { text } } } } }');
  const history = conversation.messages.edges.map(({ node }) => node.text);
  assert.equal(history.length, 42);
  assert.deepEqual(inbox.texts, history, 'each message once, none lost, in the order of the history');
  assert.deepEqual(inbox.events.filter(({ __typename }) => __typename === 'ResetRequired'), []);
}
