// The browser's language: what the client says in it, and dates as a person says them.

const locale = navigator.languages.find((tag) => /^(en|fr)\b/i.test(tag)) ?? 'en', language = locale.slice(0, 2).toLowerCase();

/** What the client says, in the browser's language. */
export const { words } = await (language === 'fr' ? import('./fr.js') : import('./en.js'));
document.documentElement.lang = language;

const format = (/** @type {Intl.DateTimeFormatOptions} */ options) => new Intl.DateTimeFormat(locale, options);
const time = format({ hour: 'numeric', minute: '2-digit' });
const weekday = format({ weekday: 'long' });
const thisYear = format({ day: 'numeric', month: 'short' });
const anyYear = format({ day: 'numeric', month: 'short', year: 'numeric' });
const days = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
export const whole = format({ dateStyle: 'full', timeStyle: 'short' });

/** How many midnights lie between then and now. @param {Date} then */
const midnights = (then) => Math.round((new Date().setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / 86_400_000);

/** A day: today, yesterday, Monday, 3 May. @param {Date} then */
export function day(then) {
  const ago = midnights(then);
  if (ago < 2) return days.format(-ago, 'day');
  if (ago < 7) return weekday.format(then);
  return (then.getFullYear() === new Date().getFullYear() ? thisYear : anyYear).format(then);
}

/** A time of day. @param {Date} then */
export const timeOfDay = (then) => time.format(then);

/** When, in a list: a time today, a day before. @param {Date} then */
export const when = (then) => (midnights(then) <= 0 ? time.format(then) : day(then));
