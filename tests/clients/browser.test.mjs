// The service's own client in Chromium, found by what its controls are called: two people, two windows.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

import { Service, here } from './support.mjs';

const PATIENCE = 30_000;
const pictures = fileURLToPath(new URL('../../target/screenshots/', import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser, service;
/** What pages complained of. */
const complaints = [];

before(async () => {
  mkdirSync(pictures, { recursive: true });
  const executablePath = process.env.CHROMIUM ?? execFileSync('sh', ['-c', 'command -v chromium || command -v chromium-browser || command -v google-chrome']).toString().trim();
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  service = await Service.start();
});

after(async () => {
  await browser?.close();
  await service?.stop();
});

const LABELS = {
  'en-GB': { name: 'Your name', enter: 'Sign in', back: 'Back to the list', send: 'Send a message', to: 'Message to', actions: 'Actions for', write: 'Write to', allow: 'Allow users to contact me', block: 'Block', unblock: 'Unblock', read: 'Mark as read', remove: 'Delete', unread: '1 unread message', again: 'Open the conversation again', save: 'Save', people: 'People', search: 'Search by name' },
  'fr-FR': { name: 'Votre nom', enter: 'Se connecter', back: 'Retour à la liste', send: 'Envoyer un message', to: 'Message à', actions: 'Actions pour', write: 'Écrire à', allow: 'Autoriser les utilisateurs à me contacter', block: 'Bloquer', unblock: 'Débloquer', read: 'Marquer comme lu', remove: 'Supprimer', unread: '1 message non lu', again: 'Rouvrir la conversation', save: 'Enregistrer', people: 'Annuaire', search: 'Chercher par nom' },
};

/** Somebody at a window. */
class Person {
  static async at(name, options = {}, url = service.url) {
    const person = new Person();
    person.name = name;
    const locale = options.locale ?? 'en-GB';
    person.words = LABELS[locale];
    person.context = await browser.newContext({ viewport: { width: 1100, height: 760 }, ...options, locale });
    person.page = await person.context.newPage();
    person.page.setDefaultTimeout(PATIENCE);
    person.page.on('pageerror', (error) => complaints.push(`${name}: ${error.message}`));
    person.page.on('console', (message) => { if (/Content Security Policy|Trusted/.test(message.text())) complaints.push(message.text()); });
    await person.page.goto(`${url}/`);
    await person.page.getByLabel(person.words.name).fill(name);
    await person.button(person.words.enter).click();
    await person.page.getByText(locale === 'fr-FR' ? 'Connecté' : 'Connected', { exact: true }).waitFor();
    return person;
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true });
  }

  async go(place) {
    await this.page.evaluate((hash) => { location.hash = hash; }, `#/${place}`);
  }

  row(contact) {
    return this.page.locator('.rows > li').filter({ has: this.page.locator('.name', { hasText: new RegExp(`^${contact}$`) }) });
  }

  composer(contact) {
    return this.page.getByLabel(`${this.words.to} ${contact}`);
  }

  bubble(text) {
    return this.page.locator('.bubble p', { hasText: text });
  }

  async act(contact, action) {
    await this.row(contact).getByRole('button', { name: `${this.words.actions} ${contact}` }).click();
    await this.row(contact).getByRole('button', { name: action, exact: true }).click();
  }

  async write(contact, text) {
    await this.composer(contact).fill(text);
    await this.composer(contact).press('Enter');
    await this.bubble(text).waitFor();
  }

  async isAccessible(screen) {
    await this.page.evaluate(axe.replace(/^/, ''));
    const { violations } = await this.page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
    const told = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).slice(0, 3).join(' ')}`);
    assert.deepEqual(told, [], screen);
  }

  picture(name) {
    return this.page.screenshot({ path: `${pictures}${name}.png` });
  }

  close() {
    return this.context.close();
  }
}

const gone = (locator) => locator.waitFor({ state: 'detached' });

test('the scripts are of the types that they say', () => {
  execFileSync(`${here}node_modules/.bin/tsc`, ['-p', `${here}tsconfig.json`], { stdio: 'pipe' });
});

const STORIES = [1, 2, 3].flatMap((list) => [1, 2, 3].map((detail) => ['en-GB', list, detail])).concat([['fr-FR', 3, 1]]);

for (const [locale, list, detail] of STORIES) {
  test(`the story of the product, ${locale}, list ${list}, detail ${detail}`, { timeout: 120_000 }, async () => {
    const [one, other] = locale === 'fr-FR' ? ['Anne', 'Benoît'] : [`Ann ${list}${detail}`, `Ben ${list}${detail}`];
    const ann = await Person.at(one, { locale }), ben = await Person.at(other, { locale, colorScheme: 'dark' }), { words } = ann;
    await ann.go('section');
    await ann.page.getByRole('radio', { name: locale === 'fr-FR' ? `Liste ${list}, détail ${detail}` : `List ${list}, detail ${detail}` }).check();

    // From the directory to the profile, to the conversation.
    await ann.page.getByRole('link', { name: words.people }).click();
    await ann.page.getByLabel(words.search).fill(other.slice(1).toLowerCase());
    await ann.page.getByRole('link', { name: other, exact: true }).click();
    await ann.button(words.send).click();
    await ann.write(other, 'Salut');

    // U6: who is not to be contacted has no button, and what stands goes on. Strangers are asked for every five seconds: once a list.
    if (detail === 1) {
      await ben.go('me');
      await ben.page.getByRole('switch', { name: words.allow }).uncheck();
      const third = await Person.at(`${one} Third`, { locale });
      const id = (await service.ask('observer', '{ users(first: 100) { edges { node { id name } } } }')).users.edges.find(({ node }) => node.name === other).node.id;
      await third.go(`person/${id}`);
      await third.button(words.block).waitFor();
      assert.equal(await third.button(words.send).count(), 0);
      await ben.page.getByRole('switch', { name: words.allow }).check();
      await third.button(words.send).waitFor();
      await third.close();
    }

    // The badge, and what clears it.
    await ben.go('');
    await ben.row(one).waitFor();
    if (list !== 1) {
      await ben.row(one).getByText(words.unread).waitFor({ state: 'attached' });
      await ben.act(one, words.read);
    }
    await gone(ben.row(one).getByText(words.unread));
    await ben.row(one).getByRole('link', { name: `${words.write} ${one}` }).click();
    await ben.bubble('Salut').waitFor();
    await ben.write(one, 'Bonjour');
    await ann.bubble('Bonjour').waitFor();

    // What would be refused is said before.
    await ann.composer(other).fill('voir exemple.fr/page');
    await ann.page.getByText(locale === 'fr-FR' ? /adresse/ : /web address/).first().waitFor();
    assert.equal(await ann.button(locale === 'fr-FR' ? 'Envoyer' : 'Send').isDisabled(), true);
    await ann.composer(other).fill('');

    // Blocked: greyed and last, and the other notices nothing.
    await ben.act(one, words.block);
    await ben.row(one).locator('.blocked').waitFor();
    await ann.write(other, 'retenu');
    await ben.button(words.unblock).last().waitFor();
    assert.equal(await ben.bubble('retenu').count(), 0);
    await ben.act(one, words.unblock);
    await ben.bubble('retenu').waitFor();

    // D4: deleted while blocked, there is nothing to unblock from until it is open again.
    await ben.act(one, words.block);
    await ben.row(one).locator('.blocked').waitFor();
    await ben.act(one, words.remove);
    await ben.page.getByRole('dialog').getByRole('button', { name: words.remove }).click();
    await gone(ben.row(one));
    const annsId = (await service.ask('observer', '{ users(first: 100) { edges { node { id name } } } }')).users.edges.find(({ node }) => node.name === one).node.id;
    await ben.go(`person/${annsId}`);
    await ben.button(words.unblock).click();
    await ben.button(words.again).click();
    await ben.row(one).locator('.blocked').waitFor();
    await ben.act(one, words.unblock);
    await gone(ben.row(one).locator('.blocked'));

    // Deleted, and whole again when it is written to.
    await ann.act(other, words.remove);
    await ann.page.getByRole('dialog').getByRole('button', { name: words.remove }).click();
    await gone(ann.row(other));
    await ben.row(one).getByRole('link', { name: `${words.write} ${one}` }).click();
    await ben.write(one, 'de retour');
    await ann.row(other).waitFor();
    await ann.row(other).locator('a.open').click();
    for (const text of ['Salut', 'Bonjour', 'retenu', 'de retour']) await ann.bubble(text).waitFor();
    await Promise.all([ann.picture(`light-${locale}-${list}${detail}`), ben.picture(`dark-${locale}-${list}${detail}`)]);
    await Promise.all([ann.close(), ben.close()]);
  });
}

test('the nine designs, in open windows, at once', { timeout: 60_000 }, async () => {
  const admin = await Person.at('Designer'), other = await Person.at('Watcher');
  await admin.go('person/watcher');
  await admin.button('Send a message').click();
  await admin.write('Watcher', 'one');
  await other.row('Designer').getByRole('link', { name: 'Write to Designer' }).click();
  await other.bubble('one').waitFor();
  await admin.go('section');
  for (const list of [1, 2, 3]) {
    for (const [detail, shape] of [[1, '.square'], [2, '.round'], [3, null]]) {
      await admin.page.getByRole('radio', { name: `List ${list}, detail ${detail}` }).check();
      await other.page.waitForFunction(([hasPhoto, shaped]) => {
        const inList = document.querySelector('.rows .photo') !== null, inDetail = document.querySelector('.conversation .message .photo');
        return inList === hasPhoto && (shaped ? inDetail?.matches(shaped) : !inDetail);
      }, [list !== 3, shape]);
    }
  }
  await admin.page.getByLabel('Title').fill('Le salon');
  await admin.button('Save').click();
  await other.page.getByRole('heading', { name: 'Le salon' }).waitFor();
  // The badge is of lists 2 and 3 alone.
  await other.go('people');
  await other.page.getByRole('heading', { name: 'People' }).waitFor();
  await service.send('designer', 'watcher', 'two');
  await other.row('Designer').getByText('1 unread message').waitFor({ state: 'attached' });
  await admin.page.getByRole('radio', { name: 'List 1, detail 1' }).check();
  await gone(other.row('Designer').getByText('1 unread message'));
  await Promise.all([admin.close(), other.close()]);
});

test('offline a message waits, a restart loses nothing, and each arrives once', { timeout: 60_000 }, async () => {
  const own = await Service.start();
  try {
    const [eve, fay] = [await Person.at('Eve', {}, own.url), await Person.at('Fay', {}, own.url)];
    await eve.go('with/fay');
    await eve.write('Fay', 'before');
    await fay.go('with/eve');
    await fay.bubble('before').waitFor();
    await own.kill();
    await eve.page.getByText('Offline', { exact: false }).waitFor();
    await eve.composer('Fay').fill('while it was away');
    await eve.composer('Fay').press('Enter');
    await eve.page.getByText('Waiting to be sent').waitFor();
    await eve.composer('Fay').fill('a draft');
    await eve.composer('Fay').dispatchEvent('input');
    await own.again();
    await fay.bubble('while it was away').waitFor();
    await gone(eve.page.getByText('Waiting to be sent'));
    await eve.context.setOffline(true);
    await eve.page.getByText('Offline', { exact: false }).waitFor();
    await own.send('fay', 'eve', 'meanwhile');
    await eve.context.setOffline(false);
    await eve.bubble('meanwhile').waitFor();
    await eve.page.reload();
    await eve.bubble('meanwhile').waitFor();
    assert.equal(await eve.composer('Fay').inputValue(), 'a draft');
    const texts = await eve.page.locator('.bubble p').allTextContents();
    assert.deepEqual(texts, ['before', 'while it was away', 'meanwhile']);
    await Promise.all([eve.close(), fay.close()]);
  } finally {
    await own.stop();
  }
});

test('a refused message says why, and is edited', async () => {
  const gil = await Person.at('Gil');
  await service.register('closed');
  await service.ask('closed', 'mutation { toggleContactable(input: { contactable: true }) { user { id } } }');
  await gil.go('with/closed');
  await gil.composer('closed').waitFor();
  await gil.context.setOffline(true);
  await gil.composer('closed').fill('bonjour');
  await gil.composer('closed').press('Enter');
  await gil.page.getByText('Waiting to be sent').waitFor();
  await service.ask('closed', 'mutation { toggleContactable(input: { contactable: false }) { user { id } } }');
  await gil.context.setOffline(false);
  await gil.page.getByRole('alert').filter({ hasText: /\w/ }).waitFor();
  await service.ask('closed', 'mutation { toggleContactable(input: { contactable: true }) { user { id } } }');
  await gil.button('Try again').click();
  await gil.page.locator('.bubble time').waitFor();
  await gil.close();
});

test('a refused message goes before a draft, and stays where nobody can write', async () => {
  const ned = await Person.at('Ned');
  await service.register('una');
  await ned.go('with/una');
  await ned.composer('una').waitFor();
  for (const [text, draft] of [['bonjour exemple.fr', 'a draft'], ['hors ligne', '']]) {
    await ned.context.setOffline(true);
    await ned.composer('una').fill(text);
    await ned.composer('una').press('Enter');
    await ned.composer('una').fill(draft);
    if (!draft) await service.ask('ned', 'mutation { blockUser(input: { userId: "una" }) { user { id } } }');
    await ned.context.setOffline(false);
    await ned.button('Try again').waitFor();
    if (!draft) break;
    await ned.button('Edit').click();
    assert.equal(await ned.composer('una').inputValue(), `${text}\n${draft}`);
    await ned.composer('una').fill('');
  }
  await ned.button('Unblock').last().waitFor();
  assert.equal(await ned.button('Edit').count(), 0);
  await ned.button('Unblock').last().focus();
  await ned.page.keyboard.press('Enter');
  await ned.button('Edit').waitFor();
  assert.equal(await ned.page.evaluate(() => document.activeElement?.tagName), 'TEXTAREA', 'focus stays in the footer');
  await ned.close();
});

test('a late answer undoes nothing that the inbox told meanwhile', async () => {
  const ray = await Person.at('Ray');
  await service.register('sue');
  for (let n = 0; n < 120; n += 1) await service.send('sue', 'ray', `n${n}.`);
  /** The answer to the next operation with this text waits until what is meant to overtake it was told. */
  const overtaken = async (operation, ask, meanwhile) => {
    let release, isThere;
    const released = new Promise((resolve) => (release = resolve)), there = new Promise((resolve) => (isThere = resolve));
    const hold = async (route) => {
      if (!route.request().postData()?.includes(operation)) return route.fallback();
      const response = await route.fetch();
      isThere();
      await released;
      await route.fulfill({ response });
    };
    await ray.page.route('**/graphql', hold);
    await ask();
    await there;
    await meanwhile();
    const answered = ray.page.waitForResponse((response) => response.request().postData()?.includes(operation) ?? false);
    release();
    await answered;
    await ray.page.unroute('**/graphql', hold);
  };
  await ray.row('sue').locator('a.open').click();
  await ray.bubble('n119.').waitFor();
  assert.equal(await ray.page.evaluate(() => document.activeElement?.tagName), 'H2', 'focus is in the head');

  // An older page, and a message that replaces the window.
  await overtaken('$before', () => ray.page.evaluate(() => { document.querySelector('.scroller').scrollTop = 0; }), async () => {
    await service.send('sue', 'ray', 'n120.');
    await ray.row('sue').locator('.preview', { hasText: 'n120.' }).waitFor();
  });
  const numbers = (await ray.page.locator('.bubble p').allTextContents()).map((text) => Number(text.slice(1)));
  assert.deepEqual(numbers, numbers.map((_, n) => numbers[0] + n), 'no holes');

  await overtaken('sendMessage', async () => {
    await ray.composer('sue').fill('mine');
    await ray.composer('sue').press('Enter');
  }, async () => {
    await service.send('sue', 'ray', 'quick');
    await ray.row('sue').locator('.preview', { hasText: 'quick' }).waitFor();
  });
  await gone(ray.page.getByText('Waiting to be sent'));
  assert.equal(await ray.row('sue').locator('.preview').textContent(), 'quick');
  await overtaken('sendMessage', async () => {
    await ray.composer('sue').fill('the last');
    await ray.composer('sue').press('Enter');
  }, async () => {
    await service.ask('ray', 'mutation { deleteConversation(input: { with: "sue" }) { deletedConversationId } }');
    await gone(ray.row('sue'));
  });
  assert.equal(await ray.row('sue').count(), 0);
  await ray.close();
});

test('what people write is text, whatever it looks like', async () => {
  const hostile = '<img src=x onerror=alert(1)><script>alert(2)</script>', long = 'x'.repeat(1_500), right = 'مرحبا \u202Eabc é́́́';
  const hal = await Person.at('Hal'), ivy = await Person.at('Ivy', { viewport: { width: 320, height: 640 } });
  hal.page.on('dialog', () => complaints.push('a script of a message ran'));
  await hal.go('me');
  await hal.page.getByLabel('Name', { exact: true }).fill('<b>Hal</b>');
  await hal.button('Save').click();
  await hal.page.getByText('Saved.').waitFor();
  await hal.go('with/ivy');
  for (const text of [hostile, long, right]) await hal.write('Ivy', text);
  await ivy.row('<b>Hal</b>').locator('a.open').click();
  for (const text of [hostile, long, right]) await ivy.bubble(text).waitFor();
  assert.equal(await ivy.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'nothing sticks out');
  await ivy.picture('narrow');
  await Promise.all([hal.close(), ivy.close()]);
});

test('swiped, by the menu, and by keyboard', async () => {
  const jim = await Person.at('Jim'), kim = await Person.at('Kim');
  await kim.go('with/jim');
  await kim.write('Jim', 'coucou');
  const face = jim.row('Kim').locator('.face'), box = await face.boundingBox();
  await jim.page.mouse.move(box.x + 200, box.y + 30);
  await jim.page.mouse.down();
  await jim.page.mouse.move(box.x + 80, box.y + 32, { steps: 5 });
  await jim.page.mouse.up();
  await jim.row('Kim').getByRole('button', { name: 'Block', exact: true }).waitFor();
  assert.equal(new URL(jim.page.url()).hash, '', 'a swipe is no click');
  await jim.page.keyboard.press('Escape');
  await jim.row('Kim').getByRole('button', { name: 'Block', exact: true }).waitFor({ state: 'hidden' });
  await jim.row('Kim').locator('a.open').click({ button: 'right' });
  await jim.row('Kim').getByRole('button', { name: 'Delete', exact: true }).waitFor();
  await jim.page.keyboard.press('Escape');
  await jim.row('Kim').getByRole('button', { name: 'Actions for Kim' }).focus();
  await jim.page.keyboard.press('Enter');
  await jim.page.keyboard.press('Enter');
  await jim.row('Kim').locator('.blocked, .badge').first().waitFor({ state: 'attached' });
  await Promise.all([jim.close(), kim.close()]);
});

test('a long history is shown in parts, and does not jump', { timeout: 120_000 }, async () => {
  await service.register('lea', 'max');
  for (let n = 0; n < 450; n += 1) await service.send('lea', 'max', `n${n}.`);
  const max = await Person.at('Max');
  await max.row('lea').locator('a.open').click();
  await max.bubble('n449.').waitFor();
  const top = () => max.page.evaluate(() => [...document.querySelectorAll('.messages:first-of-type p')].at(0)?.textContent);
  for (let seen = ''; seen !== 'n0.'; seen = await top()) {
    const before = await top();
    if (before === 'n0.') break;
    // As a wheel does, on and on: what is drawn in the same instant may move to the end once more.
    await max.page.waitForFunction((was) => {
      const scroller = document.querySelector('.scroller');
      if (scroller.scrollTop > 0) scroller.scrollTop = 0;
      return [...document.querySelectorAll('.messages p')].at(0)?.textContent !== was;
    }, before);
  }
  assert.ok(await max.page.locator('.bubble').count() <= 300, 'a part of it');
  assert.equal(await max.bubble('n449.').count(), 0);
  await max.button('New messages').click();
  await max.bubble('n449.').waitFor();
  await max.close();
});

test('a token that is not right shows the sign-in, and one in the address is taken out of it', async () => {
  const context = await browser.newContext(), page = await context.newPage();
  await page.goto(`${service.url}/#token=forged`);
  await page.getByLabel('Your name').waitFor();
  assert.equal(new URL(page.url()).hash, '#/');
  await page.goto('about:blank');
  await page.goto(`${service.url}/#token=${service.token('nora')}`);
  await page.getByText('Connected').waitFor();
  assert.equal(new URL(page.url()).hash, '#/');
  await page.getByText('Find somebody to write to').waitFor();
  assert.equal(await page.getByRole('link', { name: 'Chat section' }).isVisible(), false, 'no back office for her');
  // While the client is open: nobody else is signed in by an address, and hers is renewed.
  await page.goto(`${service.url}/#token=${service.token('omar')}`);
  await page.waitForFunction(() => location.hash === '#/');
  const renewed = service.token('nora', { name: 'Nora' });
  await page.goto(`${service.url}/#token=${renewed}`);
  await page.waitForFunction((token) => sessionStorage.getItem('entrenous:token') === token, renewed);
  await page.getByText('Connected').waitFor();
  assert.equal(new URL(page.url()).hash, '#/');
  await context.close();
});

test('an application that embeds the client hands over a token, and no other page can', { timeout: 60_000 }, async () => {
  let handed = '';
  const page = () => `<!doctype html><iframe src="${handed.url}/"></iframe><script>
    addEventListener('message', ({ origin, data, source }) => {
      if (origin === '${handed.url}' && data.entrenous === 'token') source.postMessage({ entrenousToken: '${handed.token}' }, origin);
    });</script>`;
  const pages = createServer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end(page())).listen(0, '127.0.0.1');
  await once(pages, 'listening');
  const origin = `http://127.0.0.1:${pages.address().port}`, own = await Service.start('--allow-origin', origin);
  const context = await browser.newContext({ locale: 'en-GB' }), window = await context.newPage();
  try {
    handed = { url: own.url, token: own.token('quinn') };
    await window.goto(origin);
    await window.frameLocator('iframe').getByText('Connected').waitFor();
    handed = { url: service.url, token: service.token('quinn') };
    await window.goto(origin);
    const framed = window.frames().find((frame) => frame !== window.mainFrame());
    assert.equal(await framed.evaluate(() => document.body.dataset.screen), undefined, 'it is not shown in a page of any other origin');
  } finally {
    pages.close();
    await context.close();
    await own.stop();
  }
});

test('what the README shows', { timeout: 60_000 }, async () => {
  const own = await Service.start();
  try {
    const story = [
      ['Élodie', 'Sophie', 'The rehearsal is moved to Thursday, same place.'], ['Marc', 'Sophie', 'Thank you for the notes!'], ['Yasmine', 'Sophie', 'Are you free on Saturday morning?'],
      ['Jonas', 'Sophie', 'I found the book that we talked about.'], ['Sophie', 'Jonas', 'Wonderful. Where was it?'], ['Jonas', 'Sophie', 'Behind the radiator, of all places. It has seen better days, but every page is there.'],
      ['Sophie', 'Jonas', 'Then I come by tomorrow after work, if that suits you.'], ['Jonas', 'Sophie', 'It does. I make tea.'],
    ];
    const sophie = await Person.at('Sophie', { viewport: { width: 1000, height: 640 } }, own.url);
    const id = (name) => name.toLowerCase().replace('é', 'e');
    for (const name of ['Élodie', 'Marc', 'Yasmine', 'Jonas']) {
      await fetch(own.graphql, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${own.token(id(name), { name })}` }, body: '{"query":"{ me { id } }"}' });
    }
    for (const [from, to, text] of story) await own.send(id(from), id(to), text);
    await own.ask('sophie', 'mutation { blockUser(input: { userId: "marc" }) { user { id } } }');
    await sophie.go('section');
    await sophie.page.getByRole('radio', { name: 'List 2, detail 2' }).check();
    await sophie.go('with/jonas');
    for (const colorScheme of ['light', 'dark']) {
      await sophie.page.emulateMedia({ colorScheme });
      await sophie.bubble('It does. I make tea.').waitFor();
      await sophie.row('Marc').locator('.blocked').waitFor();
      await sophie.picture(`readme-${colorScheme}`);
    }
    await sophie.close();
  } finally {
    await own.stop();
  }
});

test('every screen is accessible, light and dark, wide and narrow', { timeout: 120_000 }, async () => {
  const ola = await Person.at('Ola'), pia = await Person.at('Pia', { colorScheme: 'dark', viewport: { width: 320, height: 640 }, reducedMotion: 'reduce' });
  await ola.go('with/pia');
  await ola.write('Pia', 'bonjour');
  await pia.row('Ola').waitFor();
  await pia.isAccessible('a list with a badge');
  await pia.act('Ola', 'Block');
  await pia.row('Ola').locator('.blocked').waitFor();
  await pia.isAccessible('a blocked row');
  await pia.row('Ola').locator('a.open').click();
  await pia.button('Unblock').last().waitFor();
  await pia.isAccessible('a blocked conversation');
  await ola.isAccessible('a conversation');
  for (const [place, shown] of [['people', 'People'], ['person/pia', 'Pia'], ['me', 'My profile'], ['section', 'Chat section'], ['person/nobody-here', 'People']]) {
    for (const person of [ola, pia]) {
      await person.go(place);
      await person.page.getByRole('heading', { name: shown, level: 2 }).waitFor();
      await person.isAccessible(place);
    }
  }
  await ola.go('');
  await ola.act('Pia', 'Delete');
  await ola.page.getByRole('dialog').waitFor();
  await ola.isAccessible('a question');
  const fresh = await browser.newContext({ locale: 'en-GB' }), page = await fresh.newPage();
  await page.goto(`${service.url}/`);
  await page.getByLabel('Your name').waitFor();
  await Person.prototype.isAccessible.call({ page }, 'the sign-in');
  await Promise.all([ola.close(), pia.close(), fresh.close()]);
});

test('no page complained', () => assert.deepEqual(complaints, []));
