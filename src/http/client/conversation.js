// A conversation: its history in windows, what waits to be sent, and the composer.

import { MESSAGE, ROW, USER, asOfNow, chat, listen, markAsRead, said, unblock } from './chat.js';
import { backLink, icon, make, notify, photo } from './dom.js';
import { ask } from './graphql.js';
import { discard, draft, keepDraft, onChange, post, retry, waitingFor } from './outbox.js';
import { day, timeOfDay, whole, words } from './words.js';

/** @typedef {import('./chat.js').User} User */
/** @typedef {import('./chat.js').Row} Row */
/** @typedef {import('./chat.js').Message} Message */
/** @typedef {import('./chat.js').Section} Section */
/** @typedef {{ cursor: string, node: Message }} Edge */

const PAGE = 50;
/** So many messages are on the page at most: those far from where one reads are taken away. */
const SHOWN = 300;
/** So near to an edge, in pixels, the next page is asked for. */
const NEAR = 600;
const AT_END = 40;
const CHECK_AFTER = 250;
const HISTORY = `query ($with: ID!, $first: Int, $after: String, $last: Int, $before: String) { conversation(with: $with) {
  messages(first: $first, after: $after, last: $last, before: $before) { edges { cursor node { ${MESSAGE} } } pageInfo { hasPreviousPage hasNextPage } } } }`;

/**
 * A message as a template shows it (C3).
 * @param {Pick<Message, 'text' | 'mine' | 'sender'>} message @param {Section} section @param {...Node} under
 */
export function drawMessage({ text, mine, sender }, { detailTemplate }, ...under) {
  return make('div', { class: `message ${mine ? 'mine' : 'theirs'}` },
    detailTemplate.photo !== 'NONE' && photo(sender, detailTemplate.photo.toLowerCase()),
    make('div', { class: 'bubble' }, make('span', { class: 'unseen' }, words.says(sender.name, '')), make('p', { dir: 'auto' }, text), ...under));
}

/**
 * The screen of a conversation with somebody.
 * @param {string} id @param {AbortSignal} signal
 */
export async function conversation(id, signal) {
  let isLatest, data, tries = 0;
  do {
    isLatest = asOfNow();
    data = await ask(`query ($id: ID!) { user(id: $id) { ${USER} } conversation(with: $id) { ${ROW} } }`, { id });
  } while (!isLatest(id) && ++tries < 3 && !signal.aborted);
  /** @type {User | null} */
  let contact = data.user;
  if (!contact || contact.id === chat.me.id) return make('p', { class: 'empty' }, words.unknownPerson);
  /** @type {Row | null} */
  let row = data.conversation;

  const head = make('header', { class: 'bar' });
  const log = make('ol', { class: 'messages', tabindex: 0 });
  const pending = make('ol', { class: 'messages', 'aria-label': words.waiting });
  const empty = make('p', { class: 'empty' }, words.noMessages);
  const scroller = make('div', { class: 'scroller' }, empty, log, pending);
  const jump = make('button', { type: 'button', class: 'jump', hidden: true, onclick: () => void newest() }, words.newMessages);
  const foot = make('footer', { class: 'composer' });
  const drawHead = (/** @type {User} */ { name, id: user }) => {
    const shape = chat.section.detailTemplate.photo, isIn = head.contains(document.activeElement);
    log.setAttribute('aria-label', words.messages(name));
    head.replaceChildren(backLink(),
      make('a', { class: 'person', href: `#/person/${encodeURIComponent(user)}` },
        shape !== 'NONE' && photo(/** @type {User} */ (contact), shape.toLowerCase()), make('h2', { tabindex: -1, dir: 'auto' }, name)));
    if (isIn) head.querySelector('h2')?.focus();
  };

  /** @type {Edge[]} what is shown, oldest first */
  let edges = [];
  let hasOlder = false, hasNewer = false, isLoading = false, again = false;
  /** Which window is asked for: an answer that is of one before does not join it. */
  let turn = 0;

  const isAtEnd = () => !hasNewer && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END;
  const toEnd = () => { scroller.scrollTop = scroller.scrollHeight; };

  /** Asks for a page, and shows it if nothing else was asked for meanwhile. @param {Record<string, unknown>} variables @param {(found: Edge[], pageInfo: any) => void} show */
  const page = async (variables, show) => {
    const mine = ++turn;
    isLoading = true;
    try {
      const { conversation: found } = await ask(HISTORY, { with: id, ...variables });
      if (mine === turn) show(found?.messages.edges ?? [], found?.messages.pageInfo ?? {});
    } finally {
      if (mine === turn) isLoading = false;
    }
    if (mine === turn && again) {
      again = false;
      await load('newer');
    }
  };

  /** The newest page, and its end in sight, or what is looked at. */
  const newest = (isStaying = false) => page({ last: isStaying ? 2 * PAGE : PAGE }, (found, pageInfo) => {
    [edges, hasOlder, hasNewer] = [found, pageInfo.hasPreviousPage, false];
    // Texts of who was erased are others now.
    drawLog(true);
    if (!isStaying) toEnd();
    read();
  });

  /** More of the history, above or below, without what is read moving. @param {'older' | 'newer'} where */
  const load = async (where) => {
    if (isLoading) {
      again ||= where === 'newer';
      return;
    }
    if (!edges.length) return newest();
    const isOlder = where === 'older', wasAtEnd = isAtEnd();
    await page(isOlder ? { last: PAGE, before: edges[0].cursor } : { first: PAGE, after: edges[edges.length - 1].cursor }, (found, pageInfo) => {
      if (isOlder) {
        [edges, hasOlder] = [[...found, ...edges], pageInfo.hasPreviousPage];
        if (edges.length > SHOWN) [edges, hasNewer] = [edges.slice(0, SHOWN), true];
      } else {
        [edges, hasNewer] = [[...edges, ...found], pageInfo.hasNextPage];
        if (edges.length > SHOWN) [edges, hasOlder] = [edges.slice(-SHOWN), true];
      }
      drawLog();
      if (wasAtEnd) toEnd();
    }).catch((failure) => notify(said(failure)));
  };

  /** Draws what is new, keeps what is drawn, unless all is to be drawn afresh, and keeps what is looked at where it is. */
  const drawLog = (isAfresh = false) => {
    const top = scroller.getBoundingClientRect().top;
    const seen = [...log.querySelectorAll('li:not(.day)')].find((item) => item.getBoundingClientRect().bottom > top), before = seen?.getBoundingClientRect().top ?? 0;
    const key = (/** @type {Element | undefined} */ item) => item?.getAttribute('data-key');
    const drawn = new Map(isAfresh ? [] : [...log.children].map((item) => [key(item), item]));
    /** @type {Element[]} */
    const items = [];
    let today = '';
    for (const { node } of edges) {
      const at = new Date(node.sentAt), date = day(at);
      if (date !== today) items.push(make('li', { class: 'day', 'data-key': `${date} ${node.id}` }, make('span', {}, date)));
      today = date;
      items.push(drawn.get(node.id) ?? make('li', { 'data-key': node.id }, drawMessage(node, chat.section, make('time', { datetime: node.sentAt, title: whole.format(at) }, timeOfDay(at)))));
    }
    log.replaceChildren(...items);
    const now = seen && items.find((item) => key(item) === key(seen));
    if (now) scroller.scrollTop += now.getBoundingClientRect().top - before;
    drawPending();
  };

  const drawPending = () => {
    const wasAtEnd = isAtEnd(), waiting = waitingFor(id);
    pending.replaceChildren(...waiting.map(({ id: message, text, error }) => make('li', {}, drawMessage({ text, mine: true, sender: chat.me }, chat.section, error
      ? make('div', { class: 'failed' }, make('span', { role: 'alert' }, error),
        make('button', { type: 'button', onclick: () => retry(message) }, words.retry),
        composer && make('button', { type: 'button', onclick: () => { composer?.edit(text); discard(message); } }, words.edit),
        make('button', { type: 'button', onclick: () => discard(message) }, words.discard))
      : make('span', { class: 'hint' }, words.waiting)))));
    empty.hidden = edges.length > 0 || waiting.length > 0;
    log.hidden = edges.length === 0;
    pending.hidden = waiting.length === 0;
    if (wasAtEnd) toEnd();
  };

  /** What is at the end and in sight is read (L3). */
  const read = () => {
    jump.hidden = !hasNewer && isAtEnd();
    const last = edges.at(-1)?.node;
    if (!last || signal.aborted || document.hidden || !isAtEnd() || !row?.unreadCount || row.blocked) return;
    row = { ...row, unreadCount: 0 };
    markAsRead(id, last.id).catch(() => {});
  };

  /** @type {ReturnType<typeof drawComposer> | null} */
  let composer = null;
  let state = '';
  /** What one can do here now: write, or what is in the way. */
  const drawFoot = () => {
    const user = /** @type {User} */ (contact), now = user.blocked ? 'blocked' : row || user.canMessage ? 'write' : 'closed';
    if (now === state) return;
    const isIn = foot.contains(document.activeElement);
    state = now;
    composer = null;
    if (now === 'write') composer = drawComposer(foot, user);
    else if (now === 'blocked') {
      const freed = () => void unblock(user).catch((failure) => notify(said(failure)));
      foot.replaceChildren(make('p', { dir: 'auto' }, words.youBlock(user.name)), make('button', { type: 'button', onclick: freed }, words.UNBLOCK));
    } else foot.replaceChildren(make('p', { dir: 'auto' }, words.notContactable(user.name)));
    if (isIn) (foot.querySelector('textarea') ?? head.querySelector('h2'))?.focus();
    // What is refused can be edited where one can write.
    drawPending();
  };

  const know = (/** @type {User} */ user) => {
    const was = /** @type {User} */ (contact);
    contact = user;
    if (was.name !== user.name || was.avatarUrl !== user.avatarUrl) {
      edges = edges.map(({ cursor, node }) => ({ cursor, node: node.mine ? node : { ...node, sender: user } }));
      drawHead(user);
      drawLog(true);
      if (composer) composer.named(user.name);
      else state = '';
    }
    drawFoot();
  };
  /** There is more of it than is shown. */
  const more = (/** @type {boolean} */ isWanted) => {
    const isFollowed = isWanted || isAtEnd();
    // Its place among the others has to be asked for: two can write at once (S6).
    if (!hasNewer) void load('newer').then(() => { if (isFollowed) toEnd(); read(); }, () => {});
    else if (isWanted) void newest().catch(() => {});
    else jump.hidden = false;
  };
  /** A row: its history is read where it can be another, and only there. */
  const taken = (/** @type {Row} */ changed) => {
    if (changed.contact.id !== id) return;
    const was = row;
    row = changed;
    know(changed.contact);
    if (was?.contact.erased !== changed.contact.erased) void newest(!isAtEnd()).catch(() => {});
    else if (was?.blocked !== changed.blocked || was.lastMessage?.id !== changed.lastMessage?.id) more(false);
  };
  listen('row', taken, signal);
  listen('surfaced', (changed) => {
    taken(changed);
    // It tells of an erasure, too, and who was erased may have been before.
    if (changed.contact.id === id && changed.contact.erased) void newest(!isAtEnd()).catch(() => {});
  }, signal);
  listen('message', ({ message, row: changed }) => {
    if (changed.contact.id !== id) return;
    row = changed;
    know(changed.contact);
    more(message.mine);
  }, signal);
  listen('removed', ({ id: removed }) => { if (removed === id) location.hash = '#/'; }, signal);
  listen('user', (user) => {
    if (user.id === id) know(user);
  }, signal);
  listen('section', () => {
    drawHead(/** @type {User} */ (contact));
    drawLog(true);
  }, signal);
  listen('reset', () => void newest(!isAtEnd()).catch(() => {}), signal);
  onChange(drawPending, signal);
  document.addEventListener('visibilitychange', read, { signal });

  scroller.addEventListener('scroll', () => {
    if (hasOlder && scroller.scrollTop < NEAR) void load('older');
    else if (hasNewer && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR) void load('newer');
    read();
  }, { signal });

  drawHead(contact);
  drawFoot();
  const element = make('section', { class: 'conversation', 'data-photo': chat.section.detailTemplate.photo.toLowerCase() }, head, scroller, jump, foot);
  // Its end is shown when it has a place on the page.
  setTimeout(() => void newest().catch((failure) => notify(said(failure))));
  return element;
}

/**
 * Where one writes. What would be refused is said before, by the service itself.
 * @param {HTMLElement} foot @param {User} contact
 */
function drawComposer(foot, contact) {
  const text = make('textarea', { rows: 1, dir: 'auto', 'aria-describedby': 'verdict' });
  const named = (/** @type {string} */ name) => { text.ariaLabel = text.placeholder = words.messageTo(name); };
  named(contact.name);
  const verdict = make('p', { id: 'verdict', class: 'error', role: 'status' });
  const button = make('button', { 'aria-label': words.send, title: words.send }, icon('send'));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting;
  let checked = '';

  const say = (/** @type {string} */ refused) => {
    verdict.textContent = refused;
    text.setAttribute('aria-invalid', String(refused !== ''));
    button.disabled = refused !== '' || text.value.trim() === '';
  };
  const check = async () => {
    const written = text.value;
    if (!written.trim() || written === checked) return;
    try {
      const { checkText } = await ask('query ($text: String!) { checkText(text: $text) { message } }', { text: written });
      if (written !== text.value) return;
      checked = written;
      say(checkText[0]?.message ?? '');
    } catch {
      // Nobody can tell now: the service will when it is sent.
    }
  };
  const typed = () => {
    keepDraft(contact.id, text.value);
    text.style.height = 'auto';
    text.style.height = `${text.scrollHeight}px`;
    clearTimeout(waiting);
    checked = '';
    if (!text.value.trim()) say('');
    button.disabled = text.value.trim() === '';
    waiting = setTimeout(() => void check(), CHECK_AFTER);
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (button.disabled) return;
    post(contact.id, text.value);
    text.value = '';
    typed();
    text.focus();
  };
  text.addEventListener('input', typed);
  text.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(event);
  });
  foot.replaceChildren(verdict, make('form', { onsubmit: submit }, text, button));
  text.value = draft(contact.id);
  setTimeout(typed);
  return {
    named,
    edit: (/** @type {string} */ written) => {
      text.value = text.value ? `${written}\n${text.value}` : written;
      typed();
      text.focus();
    },
  };
}
