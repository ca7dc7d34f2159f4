// Who is signed in. A token comes from the embedding page, by `postMessage` or in the address's fragment, or in
// development mode for a name. It is kept for this tab alone, and never written anywhere else.

import { find, make } from './dom.js';
import { words } from './words.js';

const KEPT = 'entrenous:token';

const setting = (/** @type {string} */ name) => document.querySelector(`meta[name="entrenous:${name}"]`)?.getAttribute('content') ?? '';

/** Whether the service signs in by name. */
const byName = setting('sign-in') === 'name';
/** Whose pages may hand over a token. */
const origins = setting('origins').split(' ').filter(Boolean);

/** A token in the address is taken out of it at once. */
function fromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get('token');
  if (found) history.replaceState(null, '', '#/');
  return found;
}

/**
 * A token, as soon as there is one.
 * @param {string} [why] what is wrong with the one before
 * @returns {Promise<string>}
 */
export async function signIn(why) {
  const kept = fromAddress() ?? (why === undefined ? sessionStorage.getItem(KEPT) : null);
  const token = kept ?? await /** @type {Promise<string>} */ (new Promise((resolve) => {
    askForToken(resolve);
    showSignIn(resolve, why ?? '');
  }));
  sessionStorage.setItem(KEPT, token);
  find('sign-in', HTMLElement).hidden = true;
  return token;
}

/** Whose token it is. @param {string | null} token */
function subject(token) {
  try {
    return JSON.parse(atob((token ?? '').split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).sub;
  } catch {
    return undefined;
  }
}

/** A token that comes into the address of an open client: for whoever is signed in a new one, for nobody else. Another page may have put it there. */
export function takeToken() {
  const token = fromAddress(), kept = sessionStorage.getItem(KEPT);
  if (!token || (kept && subject(kept) !== subject(token))) return;
  sessionStorage.setItem(KEPT, token);
  location.reload();
}

/** Forgets who was signed in. */
export function signOut() {
  sessionStorage.removeItem(KEPT);
  location.replace('#/');
  location.reload();
}

/** Asks the page that embeds this one. @param {(token: string) => void} given */
function askForToken(given) {
  if (parent === window) return;
  addEventListener('message', ({ origin, source, data }) => {
    if (source === parent && (origin === location.origin || origins.includes(origin)) && typeof data?.entrenousToken === 'string') given(data.entrenousToken);
  });
  for (const origin of [location.origin, ...origins]) parent.postMessage({ entrenous: 'token' }, origin);
}

/** @param {(token: string) => void} given @param {string} why */
function showSignIn(given, why) {
  const place = find('sign-in', HTMLElement), failed = make('p', { role: 'alert', class: 'error' }, why);
  const input = make('input', { name: 'name', required: true, autocomplete: 'username', maxlength: 100 });
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      const response = await fetch('sign-in', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: input.value }) });
      if (!response.ok) throw new Error(words.nameWithLetter);
      given((await response.json()).token);
    } catch (error) {
      failed.textContent = error instanceof TypeError ? words.unreachable : String(/** @type {Error} */ (error).message);
    }
  };
  place.replaceChildren(make('h1', {}, words.appName), failed, byName
    ? make('form', { onsubmit: submit }, make('label', {}, words.yourName, input), make('button', {}, words.signIn), make('p', { class: 'hint' }, words.developmentHint))
    : make('p', {}, words.signInElsewhere));
  place.hidden = false;
  input.focus();
}
