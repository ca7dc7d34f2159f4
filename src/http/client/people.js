// Everybody: the directory, one person, and oneself.

import { USER, block, chat, listen, open, said, setContactable, unblock, updateProfile } from './chat.js';
import { bar, icon, make, notify, photo } from './dom.js';
import { ask } from './graphql.js';
import { signOut } from './session.js';
import { words } from './words.js';

/** @typedef {import('./chat.js').User} User */

const PAGE = 50;
const SEARCH_AFTER = 200;
/** How often a stranger's profile is looked at, while it is shown. */
const AGAIN = 5_000;

/** The directory, with a search (U4). @param {string} _ @param {AbortSignal} signal */
export async function directory(_, signal) {
  const list = make('ul', { class: 'people' }), nobody = make('p', { class: 'empty', role: 'status', hidden: true }, words.nobody);
  const more = make('button', { type: 'button', class: 'quiet more', hidden: true, onclick: () => void load() }, words.more);
  const search = make('input', { type: 'search', 'aria-label': words.search, placeholder: words.search, autocomplete: 'off' });
  /** @type {string | null} */
  let after = null;
  let asked = 0;

  const load = async () => {
    const turn = ++asked;
    try {
      const { users } = await ask(`query ($search: String, $first: Int, $after: String) { users(search: $search, first: $first, after: $after) {
        edges { node { ${USER} } } pageInfo { hasNextPage endCursor } } }`, { search: search.value, first: PAGE, after });
      if (turn !== asked) return;
      if (!after) list.replaceChildren();
      for (const { node } of users.edges) list.append(make('li', {}, make('a', { href: `#/person/${encodeURIComponent(node.id)}` }, photo(node, 'round'), make('span', { dir: 'auto' }, node.name))));
      after = users.pageInfo.endCursor;
      more.hidden = !users.pageInfo.hasNextPage;
      nobody.hidden = list.children.length > 0;
    } catch (failure) {
      notify(said(failure));
    }
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting;
  const afresh = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { after = null; void load(); }, SEARCH_AFTER);
  };
  search.addEventListener('input', afresh);
  const observer = new IntersectionObserver(([entry]) => { if (entry.isIntersecting && !more.hidden) void load(); });
  observer.observe(more);
  signal.addEventListener('abort', () => observer.disconnect());
  listen('reset', afresh, signal);
  await load();
  return make('section', { class: 'screen' }, bar(words.people), make('div', { class: 'search' }, search), list, nobody, more);
}

/** One person: their picture, and what one can do. @param {string} id @param {AbortSignal} signal */
export async function person(id, signal) {
  const find = async () => (await ask(`query ($id: ID!) { user(id: $id) { ${USER} } }`, { id })).user;
  const user = await find();
  const place = make('section', { class: 'screen' });
  let shown = user;
  const draw = (/** @type {User} */ found) => {
    shown = found;
    const attempt = (/** @type {() => Promise<void>} */ work) => () => void work().catch((failure) => notify(said(failure)));
    const write = attempt(async () => {
      await open(found.id);
      location.hash = `#/with/${encodeURIComponent(found.id)}/write`;
    });
    place.replaceChildren(bar(found.name), make('div', { class: 'profile' }, photo(found, 'large'),
      make('p', { class: 'name', dir: 'auto' }, found.name),
      found.canMessage && make('button', { type: 'button', onclick: write }, icon('pen'), words.sendMessage),
      found.id !== chat.me.id && (found.blocked
        ? make('button', { type: 'button', class: 'quiet', onclick: attempt(() => unblock(found)) }, words.UNBLOCK)
        : make('button', { type: 'button', class: 'quiet', onclick: attempt(() => block(found)) }, words.BLOCK))));
  };
  if (user) draw(user);
  else place.replaceChildren(bar(words.people), make('p', { class: 'empty' }, words.unknownPerson));
  listen('user', (changed) => { if (changed.id === id) draw(changed); }, signal);
  // The inbox tells of contacts; of a stranger one has to ask.
  const again = setInterval(() => void (document.hidden || find().then((found) => found && !signal.aborted && JSON.stringify(found) !== JSON.stringify(shown) && draw(found), () => {})), AGAIN);
  signal.addEventListener('abort', () => clearInterval(again));
  return place;
}

/** Oneself. @param {string} _ @param {AbortSignal} signal */
export async function me(_, signal) {
  const name = make('input', { required: true, maxlength: 100, autocomplete: 'name' });
  const picture = make('input', { type: 'url', placeholder: 'https://', maxlength: 2048, autocomplete: 'off' });
  const contactable = make('input', { type: 'checkbox', role: 'switch' });
  const portrait = make('div'), refused = make('p', { class: 'error', role: 'alert' });
  let filled = '';
  const draw = () => {
    const known = chat.me.erased ? '' : chat.me.name;
    if (name.value === filled) name.value = known;
    filled = known;
    contactable.checked = chat.me.contactable;
    portrait.replaceChildren(photo(chat.me, 'large'));
  };
  contactable.addEventListener('change', () => {
    setContactable(contactable.checked).catch((failure) => {
      draw();
      notify(said(failure));
    });
  });
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    refused.textContent = '';
    try {
      await updateProfile({ ...(name.value !== filled && { name: name.value }), ...(picture.value && { avatarUrl: picture.value }) });
      notify(words.saved);
    } catch (failure) {
      refused.textContent = said(failure);
    }
  };
  draw();
  listen('user', ({ id }) => { if (id === chat.me.id) draw(); }, signal);
  return make('section', { class: 'screen' }, bar(words.myProfile), make('div', { class: 'profile' }, portrait,
    make('form', { onsubmit: save }, make('label', {}, words.name, name), make('label', {}, words.picture, picture), refused, make('button', {}, words.save)),
    make('label', { class: 'switch' }, contactable, words.allowContact),
    make('button', { type: 'button', class: 'quiet', onclick: signOut }, words.signOut)));
}
