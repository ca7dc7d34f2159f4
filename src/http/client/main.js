// Begins: signs in, shows the list, and beside it the screen that the address names.

import { chat, listen, said, start } from './chat.js';
import { conversation } from './conversation.js';
import { find, icon, make, notify } from './dom.js';
import { Failure, useToken } from './graphql.js';
import './outbox.js';
import { directory, me, person } from './people.js';
import { markCurrent, startList } from './rows.js';
import { signIn, takeToken } from './session.js';
import { words } from './words.js';

/** @type {Record<string, (parameter: string, signal: AbortSignal) => Promise<HTMLElement>>} */
const SCREENS = { with: conversation, people: directory, person, me, section: async (...asked) => (await import('./section.js')).section(...asked) };

/** Ends what the screen before listens to. */
let leaving = new AbortController();

async function show() {
  leaving.abort();
  const here = (leaving = new AbortController());
  const [name, parameter = '', then] = location.hash.replace(/^#\//, '').split('/').map(decode);
  const screen = Object.hasOwn(SCREENS, name) ? SCREENS[name] : null;
  document.body.dataset.screen = screen ? name : 'list';
  markCurrent();
  for (const link of find('navigation', HTMLElement).querySelectorAll('a')) {
    if (link.hash === `#/${screen ? name : ''}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const place = find('screen', HTMLElement);
  if (!screen) return place.replaceChildren(make('p', { class: 'empty' }, words.pickOne));
  try {
    const element = await screen(parameter, here.signal);
    if (here.signal.aborted) return;
    place.replaceChildren(element);
    const first = then === 'write' ? element.querySelector('textarea') : null;
    (first ?? element.querySelector('h2'))?.focus();
  } catch (failure) {
    if (!here.signal.aborted) place.replaceChildren(make('p', { class: 'empty', role: 'alert' }, said(failure)), make('button', { type: 'button', onclick: show }, words.retry));
  }
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}

function drawFrame() {
  const links = find('navigation', HTMLElement).querySelectorAll('a');
  const named = () => {
    for (const part of ['heading', 'title']) find(part, HTMLElement).textContent = chat.section.title;
    document.title = chat.section.title;
  };
  named();
  const names = [words.conversations, words.people, words.myProfile, words.chatSection];
  links.forEach((link, n) => {
    link.setAttribute('aria-label', names[n]);
    link.title = names[n];
    link.replaceChildren(icon(link.dataset.icon ?? ''));
    if (link.hash === '#/section') link.hidden = !chat.isAdministrator;
  });
  for (const part of ['list', 'rows']) find(part, HTMLElement).setAttribute('aria-label', words.conversations);
  find('more', HTMLElement).textContent = words.more;
  find('empty-list', HTMLElement).replaceChildren(make('p', {}, words.noConversations), make('a', { class: 'button', href: '#/people' }, words.findSomebody));
  listen('section', named);
}

function tellState() {
  const state = find('state', HTMLElement);
  /** @type {Record<string, string>} */
  const names = { live: words.live, connecting: words.connecting, offline: words.offline };
  listen('state', (now) => {
    // Connecting again after a loss is still offline, until it is done.
    if (now === 'connecting' && state.dataset.state === 'offline') return;
    state.dataset.state = now;
    state.textContent = names[now];
  });
}

/** @param {string} [why] */
async function begin(why) {
  useToken(await signIn(why));
  tellState();
  try {
    await start(() => {
      sessionStorage.clear();
      location.reload();
    });
  } catch (failure) {
    if (failure instanceof Failure && failure.code === 'UNAUTHENTICATED') return begin(words.sessionOver);
    if (failure instanceof Failure && failure.code !== 'UNREACHABLE' && failure.code !== 'UNAVAILABLE') return begin(said(failure));
    notify(said(failure), { label: words.retry, act: () => location.reload() });
    return;
  }
  find('app', HTMLElement).hidden = false;
  drawFrame();
  startList();
  addEventListener('hashchange', () => void show());
  await show();
}

addEventListener('hashchange', takeToken);
void begin();
