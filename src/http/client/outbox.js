// What was written and has not been taken by the service yet, and what was begun. Both survive a reload. A message
// waits for the connection and is sent once, however often it is tried: its id makes that safe (S5).

import { chat, listen, said, send } from './chat.js';
import { Failure } from './graphql.js';

/** @typedef {{ id: string, to: string, text: string, error?: string }} Waiting */

const PAUSE = 3_000;
/** Failures of the way, not of the message: it is tried again. */
const PASSING = ['UNREACHABLE', 'UNAVAILABLE', 'RATE_LIMITED', 'UNAUTHENTICATED', 'INTERNAL'];

const changed = new EventTarget();
const place = () => `entrenous:${chat.me.id}:outbox`;
const draftPlace = (/** @type {string} */ user) => `entrenous:${chat.me.id}:draft:${user}`;

/** @returns {Waiting[]} */
const all = () => JSON.parse(localStorage.getItem(place()) ?? '[]');

/** @param {Waiting[]} messages */
function keep(messages) {
  localStorage.setItem(place(), JSON.stringify(messages));
  changed.dispatchEvent(new Event('change'));
}

/** What waits to reach somebody, in order. @param {string} user */
export const waitingFor = (user) => all().filter(({ to }) => to === user);

/** @param {() => void} then @param {AbortSignal} signal */
export const onChange = (then, signal) => changed.addEventListener('change', then, { signal });

/** What was begun. @param {string} user */
export const draft = (user) => localStorage.getItem(draftPlace(user)) ?? '';

/** @param {string} user @param {string} text */
export function keepDraft(user, text) {
  if (text) localStorage.setItem(draftPlace(user), text);
  else localStorage.removeItem(draftPlace(user));
}

/** A UUID of version 7: ids that grow are written faster. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setBigUint64(0, (BigInt(Date.now()) << 16n) | 0x7000n | BigInt(((bytes[6] & 15) << 8) | bytes[7]));
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** @param {string} to @param {string} text */
export function post(to, text) {
  keep([...all(), { id: newId(), to, text }]);
  void empty();
}

/** @param {string} id */
export const discard = (id) => keep(all().filter((message) => message.id !== id));

/** @param {string} id */
export function retry(id) {
  keep(all().map((message) => (message.id === id ? { ...message, error: undefined } : message)));
  void empty();
}

let isEmptying = false;

/** Sends what waits, one after the other, until the way is closed. */
async function empty() {
  if (isEmptying) return;
  isEmptying = true;
  let pause;
  try {
    for (let next; (next = all().find(({ error }) => !error)); ) {
      const { id } = next;
      try {
        await send(next);
        discard(id);
      } catch (failure) {
        if (!(failure instanceof Failure) || PASSING.includes(failure.code)) {
          pause = failure instanceof Failure && failure.retryAfter ? failure.retryAfter * 1_000 : PAUSE;
          return;
        }
        keep(all().map((message) => (message.id === id ? { ...message, error: said(failure) } : message)));
      }
    }
  } finally {
    isEmptying = false;
    if (pause) setTimeout(() => void empty(), pause);
  }
}

listen('live', () => void empty());
// The inbox may be faster than the answer.
listen('message', ({ message: { id } }) => { if (all().some((waiting) => waiting.id === id)) discard(id); });
