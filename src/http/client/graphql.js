// Talks to the service: questions and commands by fetch, and what happens by a WebSocket. Knows nothing of the chat.

/** What the service, or the way to it, refused. */
export class Failure extends Error {
  /** @param {string} code @param {string} message @param {number} [retryAfter] seconds */
  constructor(code, message, retryAfter = 0) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const PATIENCE = 20_000;
const HEARTBEAT = 20_000;
const LONGEST_PAUSE = 10_000;
/** The socket's close code for a token that is not valid, or no longer. */
const FORBIDDEN = 4403;

let token = '';

/** Whoever asks from now on. @param {string} value */
export const useToken = (value) => { token = value; };

/**
 * An operation's data.
 * @param {string} query @param {Record<string, unknown>} [variables]
 * @returns {Promise<any>}
 */
export async function ask(query, variables = {}) {
  let response, answer;
  try {
    response = await fetch('graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(PATIENCE),
    });
    answer = await response.json();
  } catch {
    throw new Failure('UNREACHABLE', '');
  }
  const [error] = answer.errors ?? [];
  if (error) throw new Failure(error.extensions?.code ?? 'INTERNAL', error.message, Number(response.headers.get('retry-after') ?? 0));
  return answer.data;
}

/**
 * A command's payload. What a rule of the product refuses is a failure, too.
 * @param {string} name @param {Record<string, unknown>} input @param {string} fields
 */
export async function command(name, input, fields) {
  const type = `${name[0].toUpperCase()}${name.slice(1)}Input`;
  const data = await ask(`mutation ($input: ${type}!) { ${name}(input: $input) { ${fields} userErrors { code message } } }`, { input });
  const [error] = data[name].userErrors;
  if (error) throw new Failure(error.code, error.message);
  return data[name];
}

/**
 * Follows a subscription for ever: connects again after each loss, and resumes after the last cursor.
 * @param {string} query with `$after`
 * @param {{ event: (event: any) => void, state: (state: 'live' | 'connecting' | 'offline') => void, forbidden: () => void }} told
 * @returns {() => void} ends it
 */
export function follow(query, told) {
  /** @type {WebSocket | undefined} */
  let socket;
  /** @type {string | null} */
  let cursor = null;
  let pause = 0, over = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let heartbeat;

  const connect = () => {
    clearTimeout(waiting);
    told.state('connecting');
    const url = new URL('graphql', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    const opened = new WebSocket(url, 'graphql-transport-ws');
    socket = opened;
    const say = (/** @type {object} */ message) => opened.send(JSON.stringify(message));
    const listen = () => {
      clearTimeout(heartbeat);
      heartbeat = setTimeout(() => {
        say({ type: 'ping' });
        heartbeat = setTimeout(() => lost(opened), HEARTBEAT / 2);
      }, HEARTBEAT);
    };
    opened.onopen = () => say({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } });
    opened.onmessage = ({ data }) => {
      if (socket !== opened) return;
      listen();
      const message = JSON.parse(data);
      if (message.type === 'connection_ack') say({ id: '1', type: 'subscribe', payload: { query, variables: { after: cursor } } });
      else if (message.type === 'ping') say({ type: 'pong' });
      else if (message.type === 'next' && message.payload.data) {
        const event = Object.values(message.payload.data)[0];
        cursor = event.cursor;
        told.event(event);
        if (event.__typename === 'CaughtUp') {
          pause = 0;
          told.state('live');
        }
      } else if (message.type === 'error' || message.type === 'complete' || message.type === 'next') lost(opened);
    };
    opened.onclose = ({ code }) => {
      if (socket === opened && code === FORBIDDEN) {
        end();
        told.forbidden();
      } else lost(opened);
    };
  };

  const lost = (/** @type {WebSocket} */ which) => {
    if (over || socket !== which) return;
    socket = undefined;
    clearTimeout(heartbeat);
    which.close();
    told.state('offline');
    pause = Math.min(LONGEST_PAUSE, pause * 2 || 250);
    waiting = setTimeout(connect, pause * (0.5 + Math.random() / 2));
  };
  const online = () => { if (!socket && !over) connect(); };
  const offline = () => { if (socket) lost(socket); };
  const end = () => {
    over = true;
    clearTimeout(waiting);
    clearTimeout(heartbeat);
    removeEventListener('online', online);
    removeEventListener('offline', offline);
    socket?.close();
  };
  addEventListener('online', online);
  addEventListener('offline', offline);
  connect();
  return end;
}
