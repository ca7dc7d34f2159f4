// The conversation list: which rows there are, in their order, as far as they were asked for; and how one looks.

import { ROW, asOfNow, block, chat, listen, markAsRead, remove, said, unblock } from './chat.js';
import { confirm, find, icon, iconButton, make, notify, photo } from './dom.js';
import { ask } from './graphql.js';
import { swipe } from './swipe.js';
import { when, whole, words } from './words.js';

/** @typedef {import('./chat.js').Row} Row */
/** @typedef {import('./chat.js').Action} Action */
/** @typedef {import('./chat.js').Section} Section */

const PAGE = 50;
const ORDER = 'entrenous:order';
/** @type {Record<Action, string>} */
const ICONS = { MARK_AS_READ: 'check', BLOCK: 'block', UNBLOCK: 'unblock', DELETE: 'delete' };

/** @type {Map<string, Row>} by contact, also further on than what was asked for */
const rows = new Map();
/** Where the next page begins, and the last row of the one before; null at the end. @type {{ cursor: string, last: Row } | null} */
let rest = null;
let isNewestFirst = localStorage.getItem(ORDER) === 'newest';
/** Whose actions are shown. */
let opened = '';
/** Which answer is wanted: one that comes late is not. */
let asked = 0;

/** Blocked rows last, then by time, then by id (L2). @param {Row} a @param {Row} b */
function compare(a, b) {
  const byTime = a.lastMessageAt < b.lastMessageAt ? -1 : a.lastMessageAt > b.lastMessageAt ? 1 : a.id < b.id ? -1 : Number(a.id > b.id);
  return Number(a.blocked) - Number(b.blocked) || (isNewestFirst ? -byTime : byTime);
}

async function load() {
  const turn = ++asked, after = rest?.cursor, isLatest = asOfNow();
  const query = `query ($order: ConversationOrder, $first: Int, $after: String) { conversations(order: $order, first: $first, after: $after) {
    edges { cursor node { ${ROW} } } pageInfo { hasNextPage endCursor } } }`;
  const { conversations } = await ask(query, { order: isNewestFirst ? 'NEWEST_FIRST' : 'OLDEST_FIRST', first: PAGE, after });
  if (turn !== asked) return;
  if (!after) for (const contact of rows.keys()) if (isLatest(contact)) rows.delete(contact);
  for (const { node } of conversations.edges) if (isLatest(node.contact.id)) rows.set(node.contact.id, node);
  const { hasNextPage, endCursor } = conversations.pageInfo;
  rest = hasNextPage ? { cursor: endCursor, last: conversations.edges.at(-1).node } : null;
  draw();
}

/** A row is as it is now. @param {Row} row */
function put(row) {
  rows.set(row.contact.id, row);
  draw();
}

const reload = () => {
  rest = null;
  load().catch((failure) => notify(said(failure)));
};

function draw() {
  const list = find('rows', HTMLElement), focused = document.activeElement?.closest('[data-contact]');
  const label = document.activeElement?.getAttribute('data-part'), place = focused ? [...list.children].indexOf(focused) : 0;
  const sorted = [...rows.values()].filter((row) => !rest || compare(row, rest.last) <= 0).sort(compare);
  list.replaceChildren(...sorted.map((row) => make('li', { 'data-contact': row.contact.id }, drawRow(row, chat.section))));
  find('more', HTMLElement).hidden = !rest;
  find('empty-list', HTMLElement).hidden = sorted.length > 0;
  markCurrent();
  // Whoever was in a row stays in it, or goes to the next.
  if (focused) {
    const again = list.querySelector(`[data-contact="${CSS.escape(focused.getAttribute('data-contact') ?? '')}"]`);
    const part = again?.querySelector(`[data-part="${label}"]`) ?? (again ?? list.children[place] ?? list.lastElementChild)?.querySelector('a');
    /** @type {HTMLElement} */ (part ?? find('order', HTMLElement)).focus({ preventScroll: true });
  }
}

/** Tells which row is the conversation that is shown. */
export function markCurrent() {
  for (const link of find('rows', HTMLElement).querySelectorAll('a.open')) {
    if (location.hash.replace(/\/write$/, '') === link.getAttribute('href')) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

/**
 * A row as a template shows it (C2).
 * @param {Row} row @param {Section} section
 */
export function drawRow(row, { listTemplate }) {
  const { contact, lastMessage, blocked } = row, to = `#/with/${encodeURIComponent(contact.id)}`, at = new Date(row.lastMessageAt);
  const isOpened = opened === contact.id;
  const face = make('div', { class: 'face' },
    make('a', { class: 'open', href: to, 'data-part': 'open', draggable: 'false' },
      listTemplate.showsAvatar && photo(contact, 'round'),
      make('span', { class: 'who' },
        make('span', { class: 'name', dir: 'auto' }, contact.name),
        blocked && make('span', { class: 'tag' }, words.blocked),
        make('span', { class: 'preview', dir: 'auto' }, lastMessage && (lastMessage.mine ? words.you : '') + lastMessage.text)),
      make('span', { class: 'what' },
        make('time', { datetime: row.lastMessageAt, title: whole.format(at) }, when(at)),
        listTemplate.showsUnreadBadge && row.unreadCount > 0 && make('span', { class: 'badge' },
          make('span', { 'aria-hidden': 'true' }, row.unreadCount > 99 ? '99+' : String(row.unreadCount)),
          make('span', { class: 'unseen' }, words.unread(row.unreadCount))))),
    make('a', { class: 'plain', href: `${to}/write`, 'aria-label': words.writeTo(contact.name), title: words.writeTo(contact.name), 'data-part': 'write' }, icon('pen')),
    iconButton('dots', words.actionsFor(contact.name), { 'aria-expanded': String(isOpened), 'data-part': 'more', onclick: () => toggle(contact.id) }));
  const actions = make('div', { class: 'actions', hidden: !isOpened },
    ...row.actions.map((action) => make('button', { type: 'button', class: action.toLowerCase(), 'data-part': action, onclick: () => act(action, row) }, icon(ICONS[action]), words[action])));
  const element = make('div', { class: `row${blocked ? ' blocked' : ''}${isOpened ? ' opened' : ''}`,
    oncontextmenu: (/** @type {Event} */ event) => { event.preventDefault(); toggle(contact.id, true); },
    onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === 'Escape' && isOpened) toggle(contact.id, false); } }, face, actions);
  swipe(face, (isOpen) => toggle(contact.id, isOpen));
  return element;
}

/** @param {string} contact @param {boolean} [isOpen] */
function toggle(contact, isOpen = opened !== contact) {
  opened = isOpen ? contact : '';
  draw();
  const part = isOpen ? '.actions button' : '[data-part="more"]';
  /** @type {HTMLElement | null} */ (document.querySelector(`[data-contact="${CSS.escape(contact)}"] ${part}`))?.focus();
}

/** @param {Action} action @param {Row} row */
async function act(action, { contact, blocked }) {
  try {
    switch (action) {
      case 'BLOCK': await block(contact); break;
      case 'UNBLOCK': await unblock(contact); break;
      case 'MARK_AS_READ': await markAsRead(contact.id); break;
      case 'DELETE': {
        const question = blocked ? words.confirmDeleteBlocked(contact.name) : words.confirmDelete(contact.name);
        if (!await confirm(question, words.DELETE, words.cancel)) return;
        await remove(contact);
      }
    }
    if (opened === contact.id) toggle(contact.id, false);
  } catch (failure) {
    notify(said(failure));
  }
}

/** Shows the list, and keeps it as it is. */
export function startList() {
  const order = find('order', HTMLButtonElement);
  const nameOrder = () => order.replaceChildren(icon('order'), isNewestFirst ? words.newestFirst : words.oldestFirst);
  order.addEventListener('click', () => {
    isNewestFirst = !isNewestFirst;
    localStorage.setItem(ORDER, isNewestFirst ? 'newest' : 'oldest');
    nameOrder();
    reload();
  });
  nameOrder();
  const more = find('more', HTMLButtonElement), loadMore = () => { if (rest) load().catch((failure) => notify(said(failure))); };
  more.addEventListener('click', loadMore);
  new IntersectionObserver(([entry]) => { if (entry.isIntersecting) loadMore(); }).observe(more);
  listen('row', (row) => { if (rows.has(row.contact.id)) put(row); });
  listen('surfaced', put);
  listen('message', ({ row }) => put(row));
  listen('removed', ({ id }) => { rows.delete(id); draw(); });
  listen('section', reload);
  listen('reset', reload);
  listen('user', (user) => {
    const row = rows.get(user.id);
    if (row) put({ ...row, contact: user });
  });
  reload();
}
