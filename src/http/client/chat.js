// The chat as the client knows it: what the service says happened, and the commands. Screens listen; none of them
// asks another.

import { announce, notify } from './dom.js';
import { Failure, ask, command, follow } from './graphql.js';
import { words } from './words.js';

/** @typedef {{ id: string, name: string, avatarUrl: string, contactable: boolean, canMessage: boolean, blocked: boolean, erased: boolean }} User */
/** @typedef {{ id: string, text: string, sentAt: string, mine: boolean, sender: User }} Message */
/** @typedef {'BLOCK' | 'UNBLOCK' | 'MARK_AS_READ' | 'DELETE'} Action */
/** @typedef {{ id: string, contact: User, blocked: boolean, unreadCount: number, lastMessageAt: string, lastMessage: { id: string, text: string, mine: boolean } | null, actions: Action[] }} Row */
/** @typedef {{ title: string, listTemplate: { number: number, showsAvatar: boolean, showsUnreadBadge: boolean }, detailTemplate: { number: number, photo: 'SQUARE' | 'ROUND' | 'NONE' } }} Section */

export const USER = 'id name avatarUrl contactable canMessage blocked erased';
export const MESSAGE = `id text sentAt mine sender { ${USER} }`;
export const ROW = `id blocked unreadCount lastMessageAt lastMessage { id text mine } actions contact { ${USER} }`;
const SECTION = 'title listTemplate { number showsAvatar showsUnreadBadge } detailTemplate { number photo }';

const INBOX = `subscription ($after: String) { inbox(after: $after) { __typename
  ... on MessageAdded { cursor message { ${MESSAGE} } conversation { ${ROW} } }
  ... on ConversationChanged { cursor conversation { ${ROW} } }
  ... on ConversationRemoved { cursor contact { ${USER} } }
  ... on ContactChanged { cursor contact { ${USER} } }
  ... on ChatSectionChanged { cursor chatSection { ${SECTION} } }
  ... on CaughtUp { cursor }
  ... on ResetRequired { cursor } } }`;

/** What everybody needs at once. */
export const chat = {
  /** @type {User} */
  me: { id: '', name: '', avatarUrl: '', contactable: true, canMessage: false, blocked: false, erased: false },
  isAdministrator: false,
  /** @type {Section} */
  section: { title: '', listTemplate: { number: 2, showsAvatar: true, showsUnreadBadge: true }, detailTemplate: { number: 2, photo: 'ROUND' } },
};

/**
 * What screens can listen to. `row`: a row of the list is as it is now. `surfaced`: and its history has more than before.
 * @typedef {{ row: Row, surfaced: Row, removed: User, message: { message: Message, row: Row }, user: User, section: Section, state: string, live: null, reset: null }} Heard
 */

const heard = new EventTarget();

/** @template {keyof Heard} K @param {K} what @param {Heard[K]} detail */
const tell = (what, detail) => heard.dispatchEvent(new CustomEvent(what, { detail }));

/**
 * Listens until the signal says no more.
 * @template {keyof Heard} K
 * @param {K} what @param {(detail: Heard[K]) => void} then @param {AbortSignal} [signal]
 */
export function listen(what, then, signal) {
  heard.addEventListener(what, (event) => then(/** @type {CustomEvent} */ (event).detail), { signal });
}

/** @type {Map<string, number>} which event was the last to tell of somebody */
const told = new Map();
let events = 0;

/** Whose rows the inbox has not told of since now: what is answered of the others may be older than what it told. */
export function asOfNow() {
  const now = events;
  return (/** @type {string} */ contact) => (told.get(contact) ?? 0) <= now;
}

/**
 * A command's payload, without what the inbox has told of meanwhile.
 * @param {string} name @param {Record<string, unknown>} input @param {string} fields
 */
async function change(name, input, fields) {
  const isLatest = asOfNow(), { user, conversation, ...payload } = await command(name, input, fields);
  return { ...payload, user: user && isLatest(user.id) && user, conversation: conversation && isLatest(conversation.contact.id) && conversation };
}

/** Learns who the viewer is and what the section looks like. */
async function learn() {
  const data = await ask(`{ me { ${USER} } roles chatSection { ${SECTION} } }`);
  chat.me = data.me;
  chat.section = data.chatSection;
  chat.isAdministrator = data.roles.includes('ADMIN');
}

/**
 * Begins. Resolves once everything that happens from then on is told.
 * @param {() => void} forbidden when the token is not valid any more
 */
export async function start(forbidden) {
  await learn();
  await new Promise((resolve) => {
    follow(INBOX, { forbidden, state: (state) => tell('state', state), event: (event) => { happened(event); if (event.__typename === 'CaughtUp') resolve(null); } });
  });
}

/** @param {any} event */
function happened(event) {
  const contact = event.contact ?? event.conversation?.contact;
  if (contact) told.set(contact.id, ++events);
  switch (event.__typename) {
    case 'MessageAdded':
      if (!event.message.mine) announce(words.says(event.message.sender.name, event.message.text));
      return tell('message', { message: event.message, row: event.conversation });
    case 'ConversationChanged':
      learnOf(contact);
      return tell('surfaced', event.conversation);
    case 'ConversationRemoved': return tell('removed', contact);
    case 'ContactChanged': return learnOf(contact);
    case 'ChatSectionChanged':
      chat.section = event.chatSection;
      return tell('section', event.chatSection);
    case 'CaughtUp': return tell('live', null);
    case 'ResetRequired': return void learn().then(() => { tell('section', chat.section); tell('reset', null); }, () => {});
  }
}

/** @param {User} user */
function learnOf(user) {
  if (user.id === chat.me.id) chat.me = user;
  tell('user', user);
}

/** @param {{ user?: User | null, conversation?: Row | null }} payload */
function learnFrom({ user, conversation }) {
  if (user) learnOf(user);
  if (conversation) tell('row', conversation);
}

/** What to tell a person of a failure. @param {unknown} failure */
export const said = (failure) => (failure instanceof Failure && (failure.message || (failure.code === 'UNREACHABLE' && words.unreachable))) || words.tryAgain;

/** @param {{ id: string, to: string, text: string }} message */
export async function send({ id, to, text }) {
  const { message, conversation } = await change('sendMessage', { to, text, messageId: id }, `message { ${MESSAGE} } conversation { ${ROW} }`).catch((failure) => {
    // The inbox tells of contacts alone, not of what a stranger allows.
    if (failure.code === 'NOT_CONTACTABLE') void ask(`query ($id: ID!) { user(id: $id) { ${USER} } }`, { id: to }).then(learnFrom, () => {});
    throw failure;
  });
  // Sent once more, it may be of a conversation that was deleted since.
  if (conversation) tell('message', { message, row: conversation });
}

/** @param {string} user @param {string} [upTo] a message's id */
export async function markAsRead(user, upTo) {
  learnFrom(await change('markAsRead', { with: user, upTo }, `conversation { ${ROW} }`));
}

/** @param {User} user */
export async function block(user) {
  learnFrom(await change('blockUser', { userId: user.id }, `user { ${USER} } conversation { ${ROW} }`));
}

/** @param {User} user */
export async function unblock(user) {
  try {
    const payload = await change('unblockUser', { userId: user.id }, `revealedCount user { ${USER} } conversation { ${ROW} }`);
    if (payload.conversation) tell('surfaced', payload.conversation);
    learnFrom(payload);
    notify(words.revealed(payload.revealedCount));
  } catch (failure) {
    // Without a row there is nothing to unblock from (D4): opened again, there is.
    if (!(failure instanceof Failure) || failure.code !== 'CONVERSATION_DELETED') throw failure;
    notify(failure.message, { label: words.openAgain, act: () => void open(user.id).then(() => { location.hash = `#/with/${encodeURIComponent(user.id)}`; }, (failed) => notify(said(failed))) });
  }
}

/** Without the row of a conversation that has no message yet. @param {string} user @returns {Promise<void>} */
export async function open(user) {
  const { conversation } = await change('openConversation', { with: user }, `conversation { ${ROW} }`);
  if (conversation?.lastMessageAt) tell('surfaced', conversation);
}

/** @param {User} user */
export async function remove(user) {
  const isLatest = asOfNow(), { warning } = await command('deleteConversation', { with: user.id }, 'warning');
  if (isLatest(user.id)) tell('removed', user);
  notify(warning ? words.deletedBlocked : words.deleted);
}

/** @param {boolean} contactable */
export async function setContactable(contactable) {
  learnFrom(await change('toggleContactable', { contactable }, `user { ${USER} }`));
}

/** @param {{ name?: string, avatarUrl?: string }} profile */
export async function updateProfile(profile) {
  learnFrom(await change('updateProfile', profile, `user { ${USER} }`));
}

/** @param {{ title?: string, listTemplate?: number, detailTemplate?: number }} design */
export async function configure(design) {
  const { chatSection } = await command('configureChatSection', design, `chatSection { ${SECTION} }`);
  chat.section = chatSection;
  tell('section', chatSection);
}
