// The back office: the section's title, and its nine designs as they would look.

import { chat, configure, listen, said } from './chat.js';
import { drawMessage } from './conversation.js';
import { bar, make, notify } from './dom.js';
import { drawRow } from './rows.js';
import { words } from './words.js';

/** @typedef {import('./chat.js').Section} Section */

const NUMBERS = [1, 2, 3];
const PHOTOS = /** @type {const} */ (['SQUARE', 'ROUND', 'NONE']);

/** What a pair of templates looks like. @param {number} list @param {number} detail @returns {Section} */
const design = (list, detail) => ({
  title: chat.section.title,
  listTemplate: { number: list, showsAvatar: list !== 3, showsUnreadBadge: list !== 1 },
  detailTemplate: { number: detail, photo: PHOTOS[detail - 1] },
});

/** @param {Section} section */
function preview(section) {
  const contact = { ...chat.me, id: 'camille', name: 'Camille', avatarUrl: 'avatar.svg' }, lastMessageAt = new Date().toISOString();
  const lastMessage = { id: '', text: words.sample, mine: false };
  const row = drawRow({ id: '', contact, blocked: false, unreadCount: 2, lastMessageAt, lastMessage, actions: [] }, section);
  return make('div', { class: 'preview-of', inert: true, 'aria-hidden': 'true' }, row,
    drawMessage({ text: words.sample, mine: false, sender: contact }, section), drawMessage({ text: words.sampleReply, mine: true, sender: chat.me }, section));
}

/** @param {string} _ @param {AbortSignal} signal */
export async function section(_, signal) {
  const title = make('input', { required: true, maxlength: 60 });
  const refused = make('p', { class: 'error', role: 'alert' }), designs = make('div', { class: 'designs' });
  title.value = chat.section.title;
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    refused.textContent = '';
    try {
      await configure({ title: title.value });
      notify(words.saved);
    } catch (failure) {
      refused.textContent = said(failure);
    }
  };
  const choose = (/** @type {number} */ list, /** @type {number} */ detail) => {
    configure({ listTemplate: list, detailTemplate: detail }).catch((failure) => {
      draw();
      notify(said(failure));
    });
  };
  const draw = () => {
    const { listTemplate, detailTemplate } = chat.section, focused = document.activeElement?.getAttribute('value');
    designs.replaceChildren(...NUMBERS.flatMap((list) => NUMBERS.map((detail) => {
      const isChosen = list === listTemplate.number && detail === detailTemplate.number;
      const radio = make('input', { type: 'radio', name: 'design', value: `${list}${detail}`, checked: isChosen, onchange: () => choose(list, detail) });
      return make('label', { class: 'design' }, make('span', {}, radio, words.design(list, detail)), preview(design(list, detail)));
    })));
    if (focused) /** @type {HTMLElement | null} */ (designs.querySelector(`[value="${focused}"]`))?.focus();
  };
  draw();
  listen('section', draw, signal);
  return make('section', { class: 'screen wide' },
    bar(words.chatSection),
    make('form', { class: 'profile', onsubmit: save }, make('label', {}, words.title, title), refused, make('button', {}, words.save)),
    make('fieldset', {}, make('legend', {}, words.designs), designs));
}
