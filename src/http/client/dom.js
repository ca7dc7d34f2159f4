// Elements, made and found. Text goes in as text: nothing here, or anywhere in the client, reads markup.

import { words } from './words.js';

/**
 * An element with attributes, listeners (`onclick`) and children. An attribute that is false or null is left out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    else if (value !== false && value != null) element.setAttribute(key, value === true ? '' : String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/**
 * A drawing of the page's own set, for eyes alone.
 * @param {string} name
 */
export function icon(name) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS(space, 'use'));
  svg.firstElementChild?.setAttribute('href', `#icon-${name}`);
  return svg;
}

/**
 * A button with a drawing, named for those who do not see it.
 * @param {string} name @param {string} label @param {Record<string, unknown>} attributes
 */
export const iconButton = (name, label, attributes) =>
  make('button', { type: 'button', class: 'plain', 'aria-label': label, title: label, ...attributes }, icon(name));

/**
 * Somebody's picture; the default image where theirs cannot be had. Its name stands beside it.
 * @param {{ avatarUrl: string }} user @param {string} shape
 */
export function photo({ avatarUrl }, shape) {
  const image = make('img', { class: `photo ${shape}`, src: avatarUrl, alt: '', loading: 'lazy', draggable: 'false', referrerpolicy: 'no-referrer' });
  image.addEventListener('error', () => { image.src = 'avatar.svg'; }, { once: true });
  return image;
}

/**
 * What the page has by an id.
 * @template {HTMLElement} T
 * @param {string} id @param {new () => T} kind
 */
export function find(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page lacks ${id}`);
  return element;
}

/** The way back to the list, where it is not in sight. */
export const backLink = () => make('a', { class: 'plain back', href: '#/', 'aria-label': words.back }, icon('back'));

/** The head of a screen. @param {string} title */
export const bar = (title) => make('header', { class: 'bar' }, backLink(), make('h2', { tabindex: -1, dir: 'auto' }, title));

/** Says something to those who listen to the page. @param {string} text */
export function announce(text) {
  find('announcer', HTMLElement).textContent = text;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let fading;

/**
 * Says something to everybody, for a while; with something to do about it, until it is closed.
 * @param {string} text @param {{ label: string, act: () => void }} [action]
 */
export function notify(text, action) {
  const notice = find('notice', HTMLElement);
  const close = () => notice.replaceChildren();
  clearTimeout(fading);
  notice.replaceChildren(make('div', { class: 'notice' },
    make('span', { dir: 'auto' }, text),
    action && make('button', { type: 'button', onclick: () => { close(); action.act(); } }, action.label),
    make('button', { type: 'button', class: 'plain', 'aria-label': 'OK', onclick: close }, icon('close'))));
  if (!action) fading = setTimeout(close, 8000);
}

/**
 * Asks before something is done. Resolves to whether it shall be.
 * @param {string} question @param {string} yes @param {string} no
 * @returns {Promise<boolean>}
 */
export function confirm(question, yes, no) {
  return new Promise((resolve) => {
    const dialog = make('dialog', { 'aria-labelledby': 'question', onclose: () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); } },
      make('form', { method: 'dialog' },
        make('p', { id: 'question', dir: 'auto' }, question),
        make('div', { class: 'choices' }, make('button', { value: 'no', class: 'quiet' }, no), make('button', { value: 'yes', class: 'danger' }, yes))));
    document.body.append(dialog);
    dialog.showModal();
  });
}
