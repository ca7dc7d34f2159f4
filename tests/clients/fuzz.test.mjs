// Random operations, valid and not, compared with what graphql-js makes of them: what it refuses is refused,
// and what it executes over the same world is answered alike. FUZZ_SEED repeats a run, FUZZ_ROUNDS makes it longer.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import {
  buildSchema, executeSync, getArgumentValues, getDirectiveValues, getNamedType, getNullableType, getOperationAST, getVariableValues, GraphQLError,
  GraphQLIncludeDirective, GraphQLSkipDirective, isAbstractType, isCompositeType, isEnumType, isListType, isNonNullType, Kind, parse, print,
  SchemaMetaFieldDef, specifiedRules, TypeMetaFieldDef, TypeNameMetaFieldDef, validate, visit,
} from 'graphql';
import { createClient } from 'graphql-sse';

import { documentString, Random, randomText, shrunk, spoil, Writer } from './operations.mjs';
import { schemaFile, Service } from './support.mjs';

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1e9);
const rounds = Number(process.env.FUZZ_ROUNDS ?? 2_000);
console.log(`FUZZ_SEED=${seed} FUZZ_ROUNDS=${rounds}`);

const schema = buildSchema(readFileSync(schemaFile, 'utf8'));
/** Nothing takes longer. */
const PATIENCE = 5_000;
const CONCURRENT = 8;
/** By the guide for front ends, and for lists of types in lists of types. */
const LIMITS = { depth: 16, cost: 10_000, aliases: 100, directives: 100, typeLists: 2 };

const PEOPLE = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', '42', 'auth0|gina'];
const NAMES = { bob: 'Bob', carol: 'Élodie', dave: 'Ångström', frank: 'Zoé A.', 42: 'Answer' };

let service;
let world;
before(async () => {
  service = await Service.start();
  await service.register('alice');
  const [{ data: { inbox: { cursor: start } } }] = await caughtUp(service, 'alice', INBOX);
  await populate();
  world = { start, ...(await worldOf('alice')) };
});
after(() => service?.stop());

// ---- Where the service and graphql-js differ, and why they may

/** What graphql-js refuses, by its message, and the service may execute. */
const LENIENT = [
  {
    pattern: /^Variable .* used in position expecting type/,
    where: ({ query, variables = '' }) => hasVariableInside(query) || /=[\s,]*null/.test(query + variables),
    query: 'query A { me { id } } mutation B($v: String) { sendMessage(input: {to: "nobody", text: $v}) { __typename } }',
    operationName: 'A',
    reason: 'apollo-compiler does not look inside an input; the service does, at what it is to execute.',
  },
  {
    pattern: /^Fields .* conflict because they have differing arguments/,
    where: ({ query }) => query.includes('"""'),
    query: '{ user(id: "x") { id } user(id: """x""") { name } }',
    reason: 'Both ways to write a string are the same value.',
  },
  {
    pattern: /^Syntax Error: Unterminated string/,
    where: ({ query }) => /"[\r\n]/.test(query),
    query: '{ user(id: "\n") { id } }',
    reason: 'apollo-parser takes a line break where a string begins.',
  },
  { pattern: /^Syntax Error: Expected ":", found/, query: '{ users(first first: 1 last) { __typename } }', reason: 'apollo-parser reads on where a value is missing.' },
  {
    pattern: /^Syntax Error: Invalid Unicode escape sequence: "\\u\{0+$/,
    query: '{ user(id: "\\u{00000000041}") { id } }',
    reason: '§2.9.4 does not say how many zeros may lead.',
  },
];

/** What the service refuses, by its message, and graphql-js executes. */
const STRICT = [
  {
    pattern: /`__Directive` does not have a field `(isDeprecated|deprecationReason)`|`includeDeprecated` is not supported by `__Schema.directives`/,
    query: '{ __schema { directives { isDeprecated } } }',
    reason: 'Deprecated directives are no part of the specification yet.',
  },
  {
    pattern: /^null stands where /,
    where: ({ variables }) => /null/.test(variables),
    query: 'query ($v: ID = "alice") { user(id: $v) { id } }',
    variables: '{"v":null}',
    reason: 'Known before anything is done, and so nothing is.',
  },
  {
    pattern: /^Expected input type "Boolean", found null/,
    where: ({ query, variables }) => query.includes('includeDeprecated') && /null/.test(query + variables),
    query: '{ __type(name: "User") { fields(includeDeprecated: null) { name } } }',
    reason: '§4.2: null is none of its values any more.',
  },
  {
    pattern: /Expected input type "ID", found -0|Failed to parse "Int"/,
    where: ({ query }) => /-0/.test(query),
    query: '{ users(first: -0) { __typename } }',
    reason: 'It is read as a fraction. Nobody means it.',
  },
  {
    pattern: /^could not coerce/,
    where: ({ variables }) => /\d[.eE]\d|-0|\d{16}/.test(variables),
    query: 'query ($v: Int) { users(first: $v) { __typename } }',
    variables: '{"v":2.0}',
    reason: '§3.5.1 leaves to the transport whether a fraction of zero is an integer; an identifier has 64 bits.',
  },
  {
    pattern: /subscription( `\w+`)? can only have one root field/,
    query: 'subscription { inbox { __typename } inbox { __typename } }',
    reason: 'apollo-compiler counts one that is written twice as two.',
  },
  {
    pattern: /^syntax error/,
    where: ({ query }) => /\.\.\.[\s\ufeff]*,|\w[\s\ufeff]*,[\s\ufeff,]*:/.test(query),
    query: '{ me { ..., on User { name,: id } } }',
    reason: 'apollo-parser does not pass over a comma there.',
  },
  {
    pattern: /^syntax error/,
    where: ({ query }) => /"\s*(query|\$)/.test(query),
    query: '"Who is signed in." query { me { id } }',
    reason: 'apollo-parser does not know descriptions there yet.',
  },
];

/** Whether a variable is a part of a value. */
function hasVariableInside(query) {
  let found = false;
  const inside = (node) => void visit(node, { Variable: () => void (found = true) });
  visit(parse(query), { ObjectValue: inside, ListValue: inside });
  return found;
}

// ---- The world, and graphql-js's answers over it

/** Alice's list has a row of each kind: read, unread, empty, blocked, deleted. */
async function populate() {
  for (const id of PEOPLE) await post(`{"query":"{ me { id } }"}`, { authorization: `Bearer ${service.token(id, { name: NAMES[id] ?? id })}` });
  for (const [index, text] of ['un', 'deux\n2', 'trois « 3 »', '𝐀 et 𠮷', 'cinq'].entries()) {
    for (const id of ['bob', 'carol', 'dave', '42']) await service.send(index % 2 ? 'alice' : id, index % 2 ? id : 'alice', `${text} ${id}`);
  }
  const act = (id, field, input) => service.ask(id, `mutation { ${field}(input: ${input}) { userErrors { code } } }`);
  await act('alice', 'markAsRead', '{with: "bob"}');
  await act('alice', 'blockUser', '{userId: "carol"}');
  await act('alice', 'deleteConversation', '{with: "dave"}');
  await act('erin', 'toggleContactable', '{contactable: false}');
  await service.send('carol', 'alice', 'withheld');
}

const PROFILE = 'id name avatarUrl contactable erased canMessage blocked';
const MESSAGE = 'id text sentAt mine sender { id }';
const WORLD = `{
  me { ${PROFILE} }
  users(first: 20) { edges { cursor node { ${PROFILE} } } }
  oldest: conversations(first: 20) { totalCount unreadCount edges { cursor node {
    id blocked unreadCount lastMessageAt actions contact { id } lastMessage { id } messages(first: 10) { edges { cursor node { ${MESSAGE} } } }
  } } }
  newest: conversations(first: 20, order: NEWEST_FIRST) { edges { cursor node { contact { id } } } }
  chatSection { id title listTemplate { number showsAvatar showsUnreadBadge } detailTemplate { number photo bubble } }
}`;

/** What somebody sees, as objects for graphql-js to execute over. Nothing of it may change as long as it is compared with. */
async function worldOf(viewer) {
  const data = await service.ask(viewer, WORLD);
  const [users, rows, messages] = [new Map(), new Map(), new Map()];
  const user = (profile) => users.set(profile.id, { __typename: 'User', ...profile, conversation: () => rows.get(profile.id) });
  [data.me, ...data.users.edges.map(({ node }) => node)].forEach(user);
  const message = ({ cursor, node }) => {
    messages.set(node.id, { __typename: 'Message', ...node, sender: () => users.get(node.sender.id) });
    return { cursor, node: messages.get(node.id) };
  };
  for (const { node } of data.oldest.edges) {
    const history = node.messages.edges.map(message);
    rows.set(node.contact.id, {
      ...node,
      __typename: 'Conversation',
      contact: users.get(node.contact.id),
      lastMessage: node.lastMessage && messages.get(node.lastMessage.id),
      messages: (asked) => page(history, asked),
    });
  }
  const lists = Object.fromEntries(['oldest', 'newest'].map((order) => [order, data[order].edges.map(({ cursor, node }) => ({ cursor, node: rows.get(node.contact.id) }))]));
  const directory = data.users.edges.map(({ cursor, node }) => ({ cursor, node: users.get(node.id) }));
  const chatSection = { __typename: 'ChatSection', ...data.chatSection };
  const byId = new Map([...users, ...messages, ...[...rows.values()].map((row) => [row.id, row]), [chatSection.id, chatSection]]);
  const { totalCount, unreadCount } = data.oldest;
  const root = {
    me: users.get(viewer),
    roles: [],
    checkText: [],
    user: ({ id }) => users.get(id),
    users: ({ search, ...asked }) => page(directory, asked, search),
    conversations: ({ order, ...asked }) => ({ ...page(order === 'NEWEST_FIRST' ? lists.newest : lists.oldest, asked), totalCount, unreadCount }),
    conversation: ({ with: id }) => rows.get(id),
    chatSection,
    node: ({ id }) => byId.get(id),
  };
  return { root, users, rows, messages, byId, words: wordsOf(data, byId) };
}

/** What is worth asking for. */
function wordsOf(data, byId) {
  const cursors = [data.users, data.oldest, ...data.oldest.edges.map(({ node }) => node.messages)].flatMap(({ edges }) => edges.map(({ cursor }) => cursor));
  const place = [...cursors, ...cursors, '', 'odd', 'bQ', `${cursors[0]}A`];
  return {
    any: ['x', 'alice', 'é', ''],
    id: [...byId.keys(), '0', 'nobody', 'conversation/x'],
    with: [...PEOPLE, 'nobody'], to: [...PEOPLE, 'nobody'], userId: [...PEOPLE, 'nobody'],
    upTo: [...byId.keys()],
    after: place, before: place,
    search: ['', 'a', 'o', 'É', 'elodie', 'ANG', ' b ', 'e\u0301', '%', '_'],
    name: ['User', 'Node', 'Odd', 'InboxEvent', '__Type', 'A', 'Zoé'],
    text: ['bonjour', 'e\u0301', '𠮷', ' a ', '', 'exemple.fr', '😀', 'a\u0000b', 'x'.repeat(2_001)],
    messageId: ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 'odd'],
    avatarUrl: ['https://example.com/a.png', 'odd', ''],
    title: ['Messages', '', 'x'.repeat(61)],
  };
}

/** A part of a list, by Relay's arguments. */
function page(all, { first, after: start, last, before: end }, search) {
  if (first != null && last != null) throw new GraphQLError('both');
  const rows = first ?? last ?? 50;
  if (rows < 0 || rows > 100) throw new GraphQLError('rows');
  const [from, to] = [start == null ? 0 : placeOf(all, start) + 1, end == null ? all.length : placeOf(all, end)];
  const part = searchable(search?.trim() ?? '');
  if (/\p{Cc}/u.test(part)) return connection([], false, false);
  const found = all.slice(from, Math.max(from, to)).filter(({ node }) => search == null || searchable(node.name).includes(part));
  const edges = last == null ? found.slice(0, rows) : found.slice(Math.max(0, found.length - rows));
  const more = found.length > rows;
  return last == null ? connection(edges, start != null, more) : connection(edges, more, end != null);
}

function placeOf(all, cursor) {
  const at = all.findIndex((edge) => edge.cursor === cursor);
  if (at < 0) throw new GraphQLError('cursor');
  return at;
}

function connection(edges, hasPreviousPage, hasNextPage) {
  return { edges, pageInfo: { hasPreviousPage, hasNextPage, startCursor: edges[0]?.cursor, endCursor: edges.at(-1)?.cursor } };
}

function searchable(name) {
  return name.normalize('NFKD').replace(/\p{Mn}/gu, '').toLowerCase();
}

// ---- What graphql-js makes of a request

const rules = specifiedRules.map((rule) => (rule.name === 'SingleFieldSubscriptionsRule' ? singleRootField : rule)).filter(({ name }) => name !== 'MaxIntrospectionDepthRule');

/** §5.2.4.1. graphql-js's own evaluates @skip and @include there without variables, and throws. */
function singleRootField(context) {
  const inside = ({ selections }, seen) => selections.flatMap((selection) => {
    if (selection.directives.some(({ name }) => ['skip', 'include'].includes(name.value))) return ['skipped', 'or not'];
    if (selection.kind === Kind.FIELD) return [selection];
    if (selection.kind === Kind.INLINE_FRAGMENT) return inside(selection.selectionSet, seen);
    const fragment = context.getFragment(selection.name.value);
    if (!fragment || seen.has(fragment)) return [];
    return inside(fragment.selectionSet, seen.add(fragment));
  });
  return {
    OperationDefinition(node) {
      if (node.operation !== 'subscription') return;
      const fields = inside(node.selectionSet, new Set());
      const keys = new Set(fields.map((field) => field.alias?.value ?? field.name?.value ?? field));
      if (keys.size > 1 || fields.some((field) => field.name?.value.startsWith('__'))) context.reportError(new GraphQLError('one field', { nodes: node }));
    },
  };
}

const verdicts = new WeakMap();

function judge(request) {
  if (!verdicts.has(request)) verdicts.set(request, judged(request));
  return verdicts.get(request);
}

/** The codes to refuse a request with, or what is to be executed; `excuse` where either will do. */
function judged(request) {
  let document;
  try {
    document = parse(request.query);
  } catch ({ message }) {
    return refuse(request, 'GRAPHQL_PARSE_FAILED', [message]);
  }
  const why = validate(schema, document, rules).map(({ message }) => message);
  if (!document.definitions.some(({ kind }) => kind === Kind.OPERATION_DEFINITION)) why.push('no operation');
  if (why.length > 0) return refuse(request, 'GRAPHQL_VALIDATION_FAILED', why);
  const node = getOperationAST(document, request.operationName);
  if (!node) return refuse(request, 'GRAPHQL_VALIDATION_FAILED', ['no such operation']);
  const given = JSON.parse(request.variables ?? 'null') ?? {};
  const variables = getVariableValues(schema, node.variableDefinitions ?? [], given);
  if (variables.errors) return refuse(request, 'BAD_USER_INPUT', variables.errors.map(({ message }) => message));
  const fragments = Object.fromEntries(document.definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION).map((fragment) => [fragment.name.value, fragment]));
  const operation = { document, node, kind: node.operation, fragments, variables: variables.coerced, given, name: request.operationName };
  try {
    const size = { ...writtenIn(operation), ...sizeOf(operation, [rootOf(operation)], [node.selectionSet]) };
    const isExcessive = Object.entries(LIMITS).some(([what, most]) => size[what] > most);
    return isExcessive ? refuse(request, 'QUERY_TOO_COMPLEX', [JSON.stringify(size)]) : { operation };
  } catch ({ message }) {
    return refuse(request, 'BAD_USER_INPUT', [message]);
  }
}

function refuse(request, code, why) {
  // What a document may hold is looked at before it is validated.
  const refusals = code === 'GRAPHQL_VALIDATION_FAILED' ? [code, 'QUERY_TOO_COMPLEX'] : [code];
  return { refusals, why: why[0], excuse: why.every((message) => isDifferent(LENIENT, request, [{ message }])) };
}

/** Whether something that is said against a request is a known difference. */
function isDifferent(differences, request, errors = []) {
  return errors.some(({ message }) => differences.some(({ pattern, where = () => true }) => pattern.test(message) && where(request)));
}

function rootOf({ kind }) {
  return schema.getRootType(kind);
}

/** The fields that are asked of an object, by their keys (§6.3.2). */
function collect(operation, type, sets, seen = new Set(), groups = new Map()) {
  for (const selection of sets.flatMap(({ selections }) => selections)) {
    if (!isIncluded(operation, selection)) continue;
    if (selection.kind === Kind.FIELD) {
      const key = (selection.alias ?? selection.name).value;
      groups.set(key, [...(groups.get(key) ?? []), selection]);
      continue;
    }
    const isSpread = selection.kind === Kind.FRAGMENT_SPREAD;
    if (isSpread && seen.has(selection.name.value)) continue;
    if (isSpread) seen.add(selection.name.value);
    const fragment = isSpread ? operation.fragments[selection.name.value] : selection;
    if (applies(fragment.typeCondition, type)) collect(operation, type, [fragment.selectionSet], seen, groups);
  }
  return groups;
}

function isIncluded({ variables }, selection) {
  const isSkipped = getDirectiveValues(GraphQLSkipDirective, selection, variables)?.if;
  return !isSkipped && getDirectiveValues(GraphQLIncludeDirective, selection, variables)?.if !== false;
}

function applies(condition, type) {
  const on = condition && schema.getType(condition.name.value);
  return !on || on === type || (isAbstractType(on) && schema.isSubType(on, type));
}

function fieldOf(type, name) {
  const meta = [SchemaMetaFieldDef, TypeMetaFieldDef, TypeNameMetaFieldDef].find((field) => field.name === name);
  return meta ?? type.getFields()[name];
}

function objectsOf(type) {
  return isAbstractType(type) ? schema.getPossibleTypes(type) : [type];
}

function setsOf(nodes) {
  return nodes.flatMap(({ selectionSet }) => selectionSet ?? []);
}

/** How many aliases and directives a valid document has, each fragment counted wherever it is spread. */
function writtenIn({ document, fragments }) {
  const known = new Map();
  const of = (node) => {
    if (!known.has(node)) known.set(node, countOf(node));
    return known.get(node);
  };
  const countOf = ({ kind, name, alias, directives = [], selectionSet, variableDefinitions = [] }) => {
    const spread = kind === Kind.FRAGMENT_SPREAD ? [fragments[name.value]] : [];
    return [...variableDefinitions, ...(selectionSet?.selections ?? []), ...spread].map(of).reduce(sum, { aliases: Number(Boolean(alias)), directives: directives.length });
  };
  return document.definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION).map(of).reduce(sum);
}

function sum(a, b) {
  return { aliases: a.aliases + b.aliases, directives: a.directives + b.directives };
}

/** What the guide for front ends says that an operation costs. Of the objects that one may be, the dearest counts. */
function sizeOf(operation, types, sets) {
  const of = (type) => [...collect(operation, type, sets).values()].map((nodes) => fieldSize(operation, type, nodes)).reduce(both, NOTHING);
  return types.map(of).reduce((a, b) => ({ ...both(a, b), cost: Math.max(a.cost, b.cost) }), NOTHING);
}

const NOTHING = { depth: 0, cost: 0, typeLists: 0 };

function both(a, b) {
  return { depth: Math.max(a.depth, b.depth), cost: a.cost + b.cost, typeLists: Math.max(a.typeLists, b.typeLists) };
}

function fieldSize(operation, type, nodes) {
  const field = fieldOf(type, nodes[0].name.value);
  const named = getNamedType(field.type);
  const inside = isCompositeType(named) ? sizeOf(operation, objectsOf(named), setsOf(nodes)) : NOTHING;
  const isList = named.name.startsWith('__') && ['fields', 'inputFields', 'interfaces', 'possibleTypes'].includes(field.name);
  return { depth: inside.depth + 1, cost: costOf(operation, field, named, nodes[0], inside.cost), typeLists: inside.typeLists + Number(isList) };
}

function costOf({ variables }, field, named, node, inside) {
  if (named.name.endsWith('Connection')) {
    const { first, last } = getArgumentValues(field, node, variables);
    return Math.min(Math.max(first ?? last ?? 50, 1), 100) * Math.max(inside, 1);
  }
  return inside + (['__schema', '__type'].includes(field.name) ? 500 : 1);
}

// ---- The transports

const TRANSPORTS = {
  json: (request, viewer) => post(bodyOf(request), service.authorization(viewer)),
  status: (request, viewer) => post(bodyOf(request), { accept: 'application/graphql-response+json', ...service.authorization(viewer) }),
  get: (request, viewer) => fetchText(`?${queryOf(request)}`, { headers: service.authorization(viewer) }),
  events: (request, viewer) => firstEvents(request, viewer, 1),
};

/** The first events of a stream, or all where it has fewer. */
async function firstEvents(request, viewer, count) {
  const headers = { 'content-type': 'application/json', accept: 'text/event-stream', ...service.authorization(viewer) };
  const response = await fetch(service.graphql, { method: 'POST', headers, body: bodyOf(request), signal: AbortSignal.timeout(PATIENCE) });
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true });
    if (eventsOf(text).length >= count) break;
  }
  const events = eventsOf(text).slice(0, count);
  return { status: response.status, type: response.headers.get('content-type'), text: events[0] ?? text, events };
}

function bodyOf({ query, variables, operationName }) {
  const name = operationName === undefined ? '' : `,"operationName":${JSON.stringify(operationName)}`;
  return `{"query":${JSON.stringify(query)}${name}${variables === undefined ? '' : `,"variables":${variables}`}}`;
}

function queryOf({ query, variables, operationName }) {
  return new URLSearchParams(Object.entries({ query, variables, operationName }).filter(([, value]) => value !== undefined));
}

function post(body, headers) {
  return fetchText('', { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });
}

async function fetchText(path, init) {
  const response = await fetch(`${service.graphql}${path}`, { ...init, signal: AbortSignal.timeout(PATIENCE) });
  return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
}

function eventsOf(text) {
  return text.split('\n\n').slice(0, -1).filter((event) => event.startsWith('event: next\ndata: ')).map((event) => event.slice('event: next\ndata: '.length));
}

// ---- What every answer must be

const CODES = ['GRAPHQL_PARSE_FAILED', 'GRAPHQL_VALIDATION_FAILED', 'BAD_USER_INPUT', 'QUERY_TOO_COMPLEX', 'FORBIDDEN'];

const MEDIA_TYPES = { json: 'application/json', status: 'application/graphql-response+json', get: 'application/json', events: 'text/event-stream' };

/** An answer to whatever was asked. `compare` may look closer at data. */
function checkAnswer(request, answer, transport, compare) {
  const result = checkForm(answer, transport);
  const { refusals, operation, why, excuse } = judge(request);
  if (excuse || isDifferent(STRICT, request, result.errors)) return;
  if (refusals) return checkRefusal(result, refusals, why);
  checkExecuted(result, operation);
  compare?.(result, operation);
}

/** What is true of every answer, whatever was asked. */
function checkForm({ status, type, text }, transport) {
  const result = JSON.parse(text);
  assert.equal(JSON.stringify(result), text, 'written as JSON.stringify does, no key twice');
  assert.equal(type, `${MEDIA_TYPES[transport]}; charset=utf-8`);
  assert.equal(status, 'data' in result || transport !== 'status' ? 200 : 400, 'the status');
  if (result.errors || !('data' in result)) checkErrors(result.errors);
  return result;
}

/** An answer that says that nothing was executed, and why. */
function checkRefusal(answer, refusals, why) {
  assert.ok(!('data' in answer), `no data, for ${refusals}: ${why}`);
  for (const { extensions } of answer.errors) assert.ok(refusals.includes(extensions.code), `${refusals}, not ${extensions.code}: ${why}`);
  assert.ok(answer.errors.every(({ path }) => path === undefined), 'no error has a path');
}

function checkErrors(errors) {
  assert.ok(errors?.length > 0, 'it has errors');
  for (const { message, locations = [], extensions } of errors) {
    assert.ok(typeof message === 'string' && message.trim(), 'an error has a message');
    assert.ok(CODES.includes(extensions?.code), `an error has a known code, not ${extensions?.code}`);
    assert.ok(locations.every(({ line, column }) => line > 0 && column > 0), 'an error is somewhere');
  }
}

/** An answer that has the data that was asked for, whatever it is. */
function checkExecuted(answer, operation) {
  assert.ok('data' in answer, `data, for it is valid, not ${answer.errors?.map(({ message }) => message)}`);
  for (const { path } of answer.errors ?? []) assert.equal(valueAt(answer.data, path), null, `nothing is at ${path}, where something failed`);
  if (answer.data !== null) checkObject(operation, [rootOf(operation)], [operation.node.selectionSet], answer.data, '');
  else assert.ok(answer.errors, 'no data, and no error');
}

function valueAt(data, path) {
  let value = data;
  for (const step of path) {
    if (value === null) return null;
    assert.ok(step in value, `the path ${path} leads nowhere`);
    value = value[step];
  }
  return value;
}

function checkValue(operation, type, nodes, value, path) {
  if (value === null) return assert.ok(!isNonNullType(type), `null at ${path}, which is ${type}`);
  const nullable = getNullableType(type);
  if (isListType(nullable)) {
    assert.ok(Array.isArray(value), `a list at ${path}`);
    return value.forEach((item, index) => checkValue(operation, nullable.ofType, nodes, item, `${path}.${index}`));
  }
  if (isCompositeType(nullable)) return checkObject(operation, objectsOf(nullable), setsOf(nodes), value, path);
  const isRight = isEnumType(nullable) ? nullable.getValue(value) : LEAVES[nullable.name](value);
  assert.ok(isRight, `${JSON.stringify(value)} at ${path}, which is ${type}`);
}

const LEAVES = {
  Int: (value) => Number.isInteger(value) && value === (value | 0),
  Boolean: (value) => typeof value === 'boolean',
  String: (value) => typeof value === 'string',
  ID: (value) => typeof value === 'string',
  DateTime: (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(value),
};

/** An object of one of some types. */
function checkObject(operation, types, sets, value, path) {
  const faults = [];
  for (const type of types) {
    try {
      return checkFields(operation, type, sets, value, path);
    } catch (fault) {
      faults.push(`${type}: ${fault.message}`);
    }
  }
  throw new Error(faults.join('\n'));
}

function checkFields(operation, type, sets, value, path) {
  const groups = collect(operation, type, sets);
  assert.deepEqual(Object.keys(value), [...groups.keys()], `the keys at ${path}`);
  for (const [key, nodes] of groups) {
    const name = nodes[0].name.value;
    if (name === '__typename') assert.equal(value[key], type.name, `the type's name at ${path}`);
    else checkValue(operation, fieldOf(type, name).type, nodes, value[key], `${path}.${key}`);
  }
}

/** graphql-js's answer over the same world. */
function checkEqual(answer, operation, rootValue, comparable = (text) => text) {
  const { document, given, name } = operation;
  const expected = executeSync({ schema, document, rootValue, variableValues: given, operationName: name });
  const groups = collect(operation, rootOf(operation), [operation.node.selectionSet]);
  // The two implementations do not describe themselves in the same words, and only one has the rules of a text.
  const known = (key, value) => (/^__|^checkText$/.test(groups.get(key)?.[0].name.value) ? undefined : value);
  assert.equal(comparable(JSON.stringify(answer.data, known)), comparable(JSON.stringify(expected.data, known)));
  assert.equal(answer.errors?.length > 0, expected.errors?.length > 0, `errors: ${expected.errors}`);
}

// ---- Rounds

/** Does something for each number, several at once, and tells the first faults. */
async function eachRound(t, count, round) {
  const faults = [];
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) {
      const fault = await round(new Random(seed * 7_919 + index));
      if (fault) faults.push({ index, ...fault });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT }, worker));
  t.diagnostic(`${count} rounds`);
  if (faults.length > 0) assert.fail([`${faults.length} of ${count} rounds`, ...(await Promise.all(faults.slice(0, 3).map(told)))].join('\n\n'));
}

/** What is wrong with an answer, if anything is. */
async function faultOf(request, ask, check) {
  let answer;
  try {
    answer = await ask(request);
    check(request, answer);
    return undefined;
  } catch ({ message }) {
    return { message, request, answer, again: (other) => faultOf(other, ask, check) };
  }
}

/** A fault with its request, as short as it still goes wrong. */
async function told({ index, message, request, again }) {
  const kind = (text) => text?.replace(/"[^"]*"|\d+/g, '').slice(0, 300);
  const shortest = await shrunk(request, async (shorter) => kind((await again(shorter))?.message) === kind(message));
  const fault = (await again(shortest)) ?? { message };
  const { query, variables = '', operationName = '' } = shortest;
  return `round ${index} of FUZZ_SEED=${seed}: ${fault.message}\n${query}\n${variables} ${operationName}\n${fault.answer?.status} ${fault.answer?.text}`;
}

function randomRequest(random, kind, oddly, words = world.words) {
  const request = new Writer(random, schema, words).write(kind);
  return oddly && random.chance(0.3) ? spoil(random, request, schema) : request;
}

test('a query is answered as graphql-js answers it', (t) => eachRound(t, rounds, async (random) => {
  const request = randomRequest(random, 'query', true);
  const { operation, excuse } = judge(request);
  // Nothing may change the world, also what is executed though it might be refused.
  if (operation ? operation.kind !== 'query' : excuse && request.query.includes('mutation')) return undefined;
  const transport = random.pick(Object.keys(TRANSPORTS));
  const compare = (result, asked) => checkEqual(result, asked, world.root);
  return faultOf(request, (asked) => TRANSPORTS[transport](asked, 'alice'), (asked, answer) => checkAnswer(asked, answer, transport, compare));
}));

const QUESTION = `{
  me { id name }
  node(id: "bob") { __typename ... on User { contactable conversation { actions unreadCount } } }
  users(first: 2) { edges { cursor node { name } } }
  user(id: "nobody") { id }
}`;
const WRONG_ANSWERS = {
  'a key is missing': ({ data }) => delete data.me.name,
  'a key is too many': ({ data }) => (data.me.odd = 1),
  'the keys have another order': ({ data }) => (data.me = { name: data.me.name, id: data.me.id }),
  'null stands where it may not': ({ data }) => (data.users.edges[1].node.name = null),
  'null stands where it may, without reason': ({ data }) => (data.node = null),
  'an enum has another value': ({ data }) => (data.node.conversation.actions = ['ODD']),
  'a count is a fraction': ({ data }) => (data.node.conversation.unreadCount = 0.5),
  'a list is none': ({ data }) => (data.users.edges = {}),
  'a list is shorter': ({ data }) => data.users.edges.pop(),
  'the type has another name': ({ data }) => (data.node.__typename = 'Message'),
  'there is no data': (answer) => delete answer.data,
  'an error has no code': (answer) => (answer.errors = [{ message: 'odd', path: ['user'] }]),
  'an error is where something is': (answer) => (answer.errors = [{ message: 'odd', path: ['me', 'name'], extensions: { code: 'BAD_USER_INPUT' } }]),
};

for (const [fault, spoilAnswer] of Object.entries(WRONG_ANSWERS)) {
  test(`it is noticed when ${fault}`, async () => {
    const compare = (result, operation) => checkEqual(result, operation, world.root);
    const answer = await TRANSPORTS.json({ query: QUESTION }, 'alice');
    checkAnswer({ query: QUESTION }, answer, 'json', compare);
    const spoilt = JSON.parse(answer.text);
    spoilAnswer(spoilt);
    assert.throws(() => checkAnswer({ query: QUESTION }, { ...answer, text: JSON.stringify(spoilt) }, 'json', compare));
  });
}

test('a subscription tells each event as graphql-js would tell it', async (t) => {
  const inbox = await toldTo('alice', world.start);
  const words = { ...world.words, after: [...inbox.keys()].filter((cursor) => typeof cursor === 'string') };
  await eachRound(t, Math.ceil(rounds / 5), async (random) => {
    const request = randomRequest(random, 'subscription', true, words);
    const { operation } = judge(request);
    if (operation && operation.kind !== 'subscription') return undefined;
    const events = (asked) => inbox.get(afterOf(judge(asked).operation)) ?? inbox.get('odd');
    const isInbox = (asked) => followedBy(judge(asked).operation)?.name.value === 'inbox';
    const ask = async (asked) => firstEvents(asked, 'alice', isInbox(asked) ? events(asked).length : 1);
    return faultOf(request, ask, (asked, answer) => {
      if (judge(asked).operation && !isInbox(asked)) return checkForbidden(asked, answer);
      const isRefused = answer.events.length === 1 && !('data' in JSON.parse(answer.text));
      if (isRefused || !judge(asked).operation) return checkAnswer(asked, answer, 'events');
      assert.equal(answer.events.length, events(asked).length, 'as many events');
      for (const [index, text] of answer.events.entries()) {
        const compare = (result, operation) => checkEqual(result, operation, { inbox: events(asked)[index] }, sealed);
        checkAnswer(asked, { ...answer, text }, 'events', compare);
      }
    });
  });
});

/** The inbox's cursors are sealed otherwise each time. */
function sealed(text) {
  return text.replace(/"[\w-]{22}"/g, '"cursor"');
}

/** The field that a subscription follows. */
function followedBy(operation) {
  return operation && [...collect(operation, rootOf(operation), [operation.node.selectionSet]).values()][0][0];
}

/** What the inbox resumes after. */
function afterOf(operation) {
  return operation && (getArgumentValues(fieldOf(rootOf(operation), 'inbox'), followedBy(operation), operation.variables).after ?? undefined);
}

/** A subscription that is not for who asked does not begin. */
function checkForbidden(request, answer) {
  const { errors, data } = checkForm(answer, 'events');
  if (judge(request).excuse || isDifferent(STRICT, request, errors)) return;
  assert.equal(data, undefined, 'no data, for nothing was executed');
  for (const { extensions } of errors) assert.ok(['FORBIDDEN', 'BAD_USER_INPUT'].includes(extensions.code), extensions.code);
}

const INBOX = `subscription ($after: String) { inbox(after: $after) { __typename
  ... on MessageAdded { cursor message { id } conversation { contact { id } } }
  ... on ConversationChanged { cursor conversation { contact { id } } }
  ... on ConversationRemoved { cursor conversationId contact { id } }
  ... on ContactChanged { cursor contact { id } }
  ... on ChatSectionChanged { cursor } ... on CaughtUp { cursor } ... on ResetRequired { cursor }
} }`;

/** The events that come first after each cursor, after none and after what is no cursor, up to the live ones. */
async function toldTo(viewer, start) {
  const told = new Map();
  const read = async (cursor) => told.set(cursor, (await caughtUp(service, viewer, INBOX, cursor)).map(({ data }) => eventOf(data.inbox)));
  await Promise.all([undefined, 'odd', start].map(read));
  await Promise.all(told.get(start).map(({ cursor }) => read(cursor)));
  return told;
}

function eventOf({ message, conversation, contact, ...event }) {
  const { messages, rows, users, root } = world;
  const [row, user] = [rows.get(conversation?.contact.id), users.get(contact?.id)];
  return { ...event, message: messages.get(message?.id), conversation: row, contact: user, chatSection: root.chatSection };
}

/** All that a subscription tells, up to where it is live. */
async function caughtUp(of, viewer, query, after) {
  const results = [];
  const client = createClient({ url: of.graphql, headers: of.authorization(viewer), retryAttempts: 0 });
  for await (const result of client.iterate({ query, variables: { after } })) {
    results.push(result);
    if (result.data.inbox.__typename === 'CaughtUp') break;
  }
  client.dispose();
  return results;
}

test('a mutation has an answer of the shape that was asked for', (t) => eachRound(t, Math.ceil(rounds / 3), async (random) => {
  const request = randomRequest(random, 'mutation', true);
  // Whom it erased, the tests after this one would miss.
  if (request.query.includes('eraseUser')) return undefined;
  const { operation } = judge(request);
  if (operation && operation.kind !== 'mutation') return undefined;
  const viewer = random.pick(['alice', 'alice', 'bob', 'admin']);
  const transport = random.pick(['json', 'status', 'events']);
  return faultOf(request, (asked) => TRANSPORTS[transport](asked, viewer), (asked, answer) => checkAnswer(asked, answer, transport));
}));

test('a body of other bytes has an answer too', (t) => eachRound(t, Math.ceil(rounds / 10), async (random) => {
  const body = Buffer.from(bodyOf(randomRequest(random, 'query', false)));
  for (let time = 0; time < 3; time += 1) body[random.below(body.length)] = random.below(256);
  const ask = ({ query }) => post(Buffer.from(query, 'latin1'), service.authorization('alice'));
  return faultOf({ query: body.toString('latin1') }, ask, (_, { status, text }) => {
    assert.ok([200, 400].includes(status), `the status ${status}`);
    const { data, errors } = JSON.parse(text);
    if (data === undefined || errors) checkErrors(errors);
  });
}));

test('what needs another method or another media type is refused', async () => {
  const refusals = [
    ['get', 'mutation { toggleContactable(input: {contactable: true}) { __typename } }', 405],
    ['json', 'subscription { inbox { __typename } }', 400],
  ];
  for (const [transport, query, status] of refusals) {
    const answer = await TRANSPORTS[transport]({ query }, 'alice');
    assert.equal(answer.status, status);
    checkErrors(JSON.parse(answer.text).errors);
  }
});

test('a text arrives as graphql-js reads it', async () => {
  const random = new Random(seed);
  for (let time = 0; time < 20; time += 1) {
    const literals = Array.from({ length: 20 }, () => documentString(random, `a${randomText(random, 12)}z`));
    const sends = literals.map((text, index) => `m${index}: sendMessage(input: {to: "dave", text: ${text}}) { message { text } userErrors { code } }`);
    const query = `mutation { ${sends.join(' ')} }`;
    const read = parse(query).definitions[0].selectionSet.selections.map(({ arguments: [input] }) => input.value.fields[1].value.value);
    const sent = Object.values(await service.ask('frank', query));
    assert.deepEqual(sent.map(({ message, userErrors }) => message?.text ?? userErrors), read.map((text) => text.normalize('NFC').trim()), query);
  }
});

/** What must be true of an answer for a difference to be there still. */
const DIFFERENCES = [
  [LENIENT, ({ data }) => data !== undefined],
  [STRICT, ({ errors }) => errors !== undefined],
];

for (const [differences, isThere] of DIFFERENCES) {
  for (const { query, variables, operationName, reason } of differences) {
    test(`a known difference is there still: ${query}: ${reason}`, async () => {
      const { text } = await TRANSPORTS.events({ query, variables, operationName }, 'alice');
      assert.ok(isThere(JSON.parse(text)), text);
    });
  }
}

// ---- A block that nobody can notice

/** What the two worlds name otherwise: an identifier, an instant, a cursor. */
const OPAQUE = /^((conversation\/)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|[\w-]{12,})$/;

/** Which name of one world is which of the other: each is one, and always the same. */
class Renaming {
  #to = new Map();
  #from = new Map();
  seen = { ids: [], cursors: [] };

  check(a, b, path) {
    if (typeof a === 'string' && typeof b === 'string' && OPAQUE.test(a) && OPAQUE.test(b)) return this.#name(a, b, path);
    if (a === null || typeof a !== 'object' || b === null || typeof b !== 'object') return assert.deepEqual(a, b, `at ${path}`);
    assert.deepEqual(Object.keys(a), Object.keys(b), `the keys at ${path}`);
    for (const key of Object.keys(a)) this.check(a[key], b[key], `${path}.${key}`);
  }

  #name(a, b, path) {
    if (!this.#to.has(a)) this.seen[/^(conversation\/)?[0-9a-f]{8}-/.test(a) ? 'ids' : 'cursors'].push(a);
    assert.equal(this.#to.get(a) ?? b, b, `another name at ${path}`);
    assert.equal(this.#from.get(b) ?? a, a, `another name at ${path}`);
    this.#to.set(a, b);
    this.#from.set(b, a);
  }

  /** The same request in the other world. */
  translated({ query, variables, operationName }) {
    const other = (text) => this.#to.get(text) ?? text;
    const document = visit(parse(query), { StringValue: (node) => ({ ...node, value: other(node.value) }) });
    const rename = (_, value) => (typeof value === 'string' ? other(value) : value);
    return { query: print(document), variables: variables && JSON.stringify(JSON.parse(variables, rename)), operationName };
  }
}

const WORLDS_APART = {
  'a name is another': [['bob', 'carol'], ['bob', 'dave']],
  'two messages are one': [['a'.repeat(12), 'b'.repeat(12)], ['c'.repeat(12), 'c'.repeat(12)]],
  'one message is two': [['a'.repeat(12), 'a'.repeat(12)], ['b'.repeat(12), 'c'.repeat(12)]],
  'a key is missing': [{ a: null, b: 1 }, { b: 1 }],
  'a list is shorter': [[1, 2], [1]],
  'null is something': [{ a: null }, { a: { b: 1 } }],
};

for (const [what, [a, b]] of Object.entries(WORLDS_APART)) {
  test(`it is noticed when ${what} in one of two worlds`, () => {
    new Renaming().check(a, a, 'here');
    assert.throws(() => new Renaming().check(a, b, 'here'));
  });
}

/** Two services in which all people have done the same until now, but that Bob blocks Alice in the second. */
async function twoWorlds() {
  const services = await Promise.all([Service.start(), Service.start()]);
  const written = [['bob', 'alice'], ['alice', 'bob'], ['carol', 'alice'], ['bob', 'alice'], ['alice', 'dave']];
  for (const each of services) {
    await each.register('alice', 'bob', 'carol', 'dave');
    for (const [from, to] of written) await each.send(from, to, `de ${from} à ${to}`);
    await act(each, 'bob', 'blockUser', `{userId: "${each === services[1] ? 'alice' : 'dave'}"}`);
  }
  return services;
}

function act(each, id, field, input) {
  return each.ask(id, `mutation { ${field}(input: ${input}) { userErrors { code } } }`);
}

/** What Bob may do without writing to anybody: that he cannot is all that his block changes. */
const BOBS = [
  ['openConversation', '{with: "alice"}'],
  ['deleteConversation', '{with: "alice"}'],
  ['markAsRead', '{with: "alice"}'],
  ['toggleContactable', '{contactable: false}'],
  ['toggleContactable', '{contactable: true}'],
  ['updateProfile', '{name: "Bob B."}'],
  ['updateProfile', '{name: "Bob"}'],
];
const OTHERS = ['carol', 'dave'];

test('nobody can notice that they are blocked', async (t) => {
  const services = await twoWorlds();
  t.after(() => Promise.all(services.map((each) => each.stop())));
  const random = new Random(seed);
  const names = new Renaming();
  let cursors = [undefined, undefined];
  for (let step = 0; step < rounds / 5; step += 1) {
    if (step % 20 === 0) cursors = await sameInbox(services, names, cursors);
    await stepOf(random, services, names, `step ${step} of FUZZ_SEED=${seed}`);
  }
  await sameInbox(services, names, cursors);
});

const EVENTS = `subscription ($after: String) { inbox(after: $after) { __typename
  ... on MessageAdded { cursor message { id text mine sentAt sender { ...Profile } } conversation { ...Row } }
  ... on ConversationChanged { cursor conversation { ...Row } }
  ... on ConversationRemoved { cursor conversationId contact { ...Profile } }
  ... on ContactChanged { cursor contact { ...Profile } }
  ... on ChatSectionChanged { cursor } ... on CaughtUp { cursor } ... on ResetRequired { cursor }
} }
fragment Profile on User { ${PROFILE} }
fragment Row on Conversation {
  id blocked unreadCount actions lastMessageAt lastMessage { id } contact { ...Profile }
  messages(last: 5) { edges { cursor node { id } } pageInfo { hasPreviousPage } }
}`;

/** What Alice was told since the last time is the same in both worlds. */
async function sameInbox(services, names, cursors) {
  const inboxes = await Promise.all(services.map((each, index) => caughtUp(each, 'alice', EVENTS, cursors[index])));
  // Its cursors are sealed otherwise each time.
  const events = (results) => results.map(({ data: { inbox: { cursor, ...event } } }) => event);
  const told = inboxes.map((results, index) => nameless(services[index], JSON.stringify(events(results))));
  names.check(...told, 'the inbox');
  return inboxes.map((results) => results.at(-1).data.inbox.cursor);
}

async function stepOf(random, services, names, step) {
  if (random.chance(0.1)) {
    const [field, input] = random.pick(BOBS);
    await Promise.all(services.map((each) => act(each, 'bob', field, input)));
  }
  const viewer = random.chance(0.85) ? 'alice' : random.pick(OTHERS);
  const request = new Writer(random, schema, wordsSeen(names), 0).write(random.pick(['query', 'query', 'mutation', 'mutation', 'mutation']));
  if (!judge(request).operation) return;
  const requests = [new Renaming().translated(request), names.translated(request)];
  const answers = await Promise.all(services.map((each, index) => answerOf(each, viewer, requests[index])));
  try {
    names.check(...answers, 'the answer');
  } catch ({ message }) {
    assert.fail([`${step}: ${message}`, viewer, requests[0].query, requests[0].variables, ...answers.map((answer) => JSON.stringify(answer))].join('\n'));
  }
}

/** JSON without the service's own address. */
function nameless(each, json) {
  return JSON.parse(json.replaceAll(each.url, 'http://service'));
}

function wordsSeen({ seen: { ids, cursors } }) {
  const people = ['bob', 'bob', 'bob', 'carol', 'dave', 'alice'];
  const [lastIds, place] = [ids.slice(-20), ['odd', ...cursors.slice(-20)]];
  return {
    any: ['x'],
    id: [...people, ...lastIds], with: people, to: people, userId: people, upTo: ['odd', ...lastIds],
    after: place, before: place,
    text: ['un', 'deux', 'exemple.fr', ''], messageId: [1, 2, 3].map((number) => `00000000-0000-4000-8000-00000000000${number}`),
    name: ['A', 'Zoé'], title: ['Messages'], avatarUrl: ['https://example.com/a.png'],
  };
}

/** What a client sees of an answer. */
async function answerOf(each, viewer, request) {
  const headers = { 'content-type': 'application/json', accept: 'application/graphql-response+json', ...each.authorization(viewer) };
  const response = await fetch(each.graphql, { method: 'POST', headers, body: bodyOf(request), signal: AbortSignal.timeout(PATIENCE) });
  const body = nameless(each, await response.text());
  // When an answer was made, and which it is, is told of every answer.
  const told = [...response.headers].filter(([name]) => !['date', 'x-request-id', 'content-length'].includes(name));
  return { status: response.status, headers: told, body };
}

// ---- Documents that mean harm

const TOO_COMPLEX = ['QUERY_TOO_COMPLEX'];
const NOT_GRAPHQL = ['GRAPHQL_PARSE_FAILED', 'QUERY_TOO_COMPLEX'];
const NOT_VALID = ['GRAPHQL_VALIDATION_FAILED', 'QUERY_TOO_COMPLEX'];
const BAD_INPUT = ['BAD_USER_INPUT'];

const nested = (open, inside, close, levels) => open.repeat(levels) + inside + close.repeat(levels);
const listed = (count, each) => Array.from({ length: count }, (_, index) => each(index)).join(' ');
const pageOfPages = nested('conversation(with: "bob") { messages(first: 100) { edges { node { sender {', 'id', '} } } } }', 2);

/** What is refused, with one of some codes. */
const HOSTILE = {
  'a valid document that is nested 10,000 deep': [`{${nested('...{', 'me{id}', '}', 10_000)}}`, NOT_GRAPHQL],
  'a valid document that is nested 1,000 deep in fields': [`{me{${nested('conversation{contact{', 'id', '}}', 500)}}}`, NOT_GRAPHQL],
  'a document that is nested 30,000 deep and does not end': ['{a'.repeat(30_000), NOT_GRAPHQL],
  'a list that is nested 30,000 deep': [`{ users(first: ${nested('[', '', ']', 30_000)}) { __typename } }`, NOT_GRAPHQL],
  'a list that is nested 30,000 deep and does not end': [`{ users(first: ${'['.repeat(60_000)}`, NOT_GRAPHQL],
  'an object that is nested 10,000 deep': [`{ user(id: ${nested('{a:', '1', '}', 10_000)}) { id } }`, NOT_GRAPHQL],
  'a type that is nested 20,000 deep': [`query ($v: ${nested('[', 'Int', ']', 20_000)}) { users(first: $v) { __typename } }`, [...NOT_GRAPHQL, ...NOT_VALID]],
  'a default that is nested 20,000 deep': [`query ($v: Int = ${nested('[', '1', ']', 20_000)}) { users(first: $v) { __typename } }`, NOT_GRAPHQL],
  'a fragment that doubles 1,000 times': [`{ ...F0 } ${listed(1_000, (n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)} fragment F1000 on Query { me { id } }`, TOO_COMPLEX],
  'a chain of 1,000 fragments': [`{ ...F0 } ${listed(1_000, (n) => `fragment F${n} on Query { ...F${n + 1} }`)} fragment F1000 on Query { me { id } }`, TOO_COMPLEX],
  'a ring of 1,000 fragments': [`{ ...F0 } ${listed(1_000, (n) => `fragment F${n} on Query { ...F${(n + 1) % 1_000} }`)}`, NOT_VALID],
  '1,000 fragments that nobody asks for': [`{ me { id } } ${listed(1_000, (n) => `fragment F${n} on Query { me { id } }`)}`, NOT_VALID],
  '1,000 aliases': [`{ me { ${listed(1_000, (n) => `a${n}: id`)} } }`, TOO_COMPLEX],
  '1,000 directives': [`{ me { ${listed(1_000, () => 'id @include(if: true)')} } }`, TOO_COMPLEX],
  '1,000 directives of one field': [`{ me { id ${listed(1_000, () => '@include(if: true)')} } }`, NOT_VALID],
  '1,000 directives of one operation': [`query ${listed(1_000, () => '@odd')} { me { id } }`, NOT_VALID],
  'a page of pages': [`{ users(first: 100) { edges { node { ${pageOfPages} } } } }`, NOT_VALID],
  'a page of pages of pages': [`{ conversations(first: 100) { edges { node { messages(first: 100) { edges { node { sender { conversation { messages { edges { cursor } } } } } } } } } } }`, TOO_COMPLEX],
  'introspection that goes in circles': [`{ __schema { types { ${nested('fields { type {', 'name', '} }', 6)} } } }`, TOO_COMPLEX],
  'introspection that goes round for ever': [`{ __schema { types { ${nested('fields { type {', 'name', '} }', 1_000)} } } }`, NOT_GRAPHQL],
  'introspection that goes back and forth': [`{ __type(name: "Node") { ${nested('possibleTypes { interfaces {', 'name', '} }', 6)} } }`, TOO_COMPLEX],
  '10,000 fields that are unknown': [`{ ${listed(10_000, (n) => `a${n}`)} }`, NOT_VALID],
  '1,900 fields that are unknown': [`{ ${listed(1_900, (n) => `unknownField${n}`)} }`, NOT_VALID],
  'a field with a name of 60,000 characters': [`{ ${'a'.repeat(60_000)} }`, NOT_VALID],
  '5,000 fields that overlap': [`{ me { ${listed(5_000, () => 'id')} } }`, TOO_COMPLEX],
  '5,000 fields that overlap with others': [`{ ${listed(5_000, (n) => `me{id${n % 2 ? ':name' : ''}}`)} }`, NOT_VALID],
  '20 fragments, each with 90 fields that overlap': [`{ ${listed(20, (n) => `...F${n}`)} } ${listed(20, (n) => `fragment F${n} on Query { ${listed(90, (m) => `users(first: 1${n}${m}) { __typename }`)} }`)}`, NOT_VALID],
  '1,000 operations': [listed(1_000, (n) => `query Q${n} { me { id } }`), [...NOT_VALID, ...NOT_GRAPHQL]],
  '3,000 variables that nobody uses': [`query (${listed(3_000, (n) => `$v${n}: Int`)}) { me { id } }`, NOT_VALID],
  '3,000 variables that are not there': [`{ user(id: [${listed(3_000, (n) => `$v${n}`)}]) { id } }`, NOT_VALID],
  '3,000 arguments': [`{ users(${listed(3_000, (n) => `a${n}: 1`)}) { __typename } }`, NOT_VALID],
  'a number of 60,000 digits': [`{ users(first: ${'9'.repeat(60_000)}) { __typename } }`, [...NOT_GRAPHQL, ...NOT_VALID]],
  'a string of escapes that do not end': [`{ user(id: "${'\\u{'.repeat(15_000)}") { id } }`, NOT_GRAPHQL],
  'a block string of quotes that does not end': [`{ user(id: """${'\\"""'.repeat(15_000)}) { id } }`, NOT_GRAPHQL],
  '60,000 quotes': [`{ user(id: ${'"'.repeat(60_000)}) { id } }`, NOT_GRAPHQL],
  '60,000 comments': ['#\n'.repeat(30_000), NOT_GRAPHQL],
  'a document of 2 MiB': [`{ me { id } } #${'x'.repeat(2 << 20)}`, BAD_INPUT],
  'a document of 900 KiB': [`{ me { id } } #${'x'.repeat(900 << 10)}`, TOO_COMPLEX],
  'a variable that is nested 100,000 deep': ['query ($v: Int) { users(first: $v) { __typename } }', BAD_INPUT, `{"v":${nested('[', '', ']', 100_000)}}`],
  'a variable that is nested 100 deep': ['query ($v: Int) { users(first: $v) { __typename } }', BAD_INPUT, `{"v":${nested('[', '1', ']', 100)}}`],
  'a variable of 100,000 numbers': ['query ($v: Int) { users(first: $v) { __typename } }', BAD_INPUT, `{"v":[${'1,'.repeat(100_000)}1]}`],
  'an input of 50,000 fields': ['mutation ($v: SendMessageInput!) { sendMessage(input: $v) { __typename } }', BAD_INPUT, `{"v":{${listed(50_000, (n) => `"a${n}":1,`)}"to":"bob"}}`],
  'a list of 20,000 wrong users': ['mutation ($v: [NewUserInput!]!) { registerUsers(input: {users: $v}) { __typename } }', BAD_INPUT, `{"v":[${'{"id":"a","name":"b"},'.repeat(20_000)}{"id":"a"}]}`],
};

for (const [what, [query, codes, variables]] of Object.entries(HOSTILE)) {
  test(`${what}: refused at once, and nobody waits for it`, async () => {
    const refused = timed(() => TRANSPORTS.json({ query, variables }, 'alice'));
    const asked = timed(() => TRANSPORTS.json({ query: '{ me { id } }' }, 'bob'));
    const [[answer, time], [{ text }, wait]] = await Promise.all([refused, asked]);
    const { data, errors } = JSON.parse(answer.text);
    assert.equal(data, undefined);
    assert.ok(answer.status < 500 && answer.text.length < 100_000, `${answer.status}, ${answer.text.length} long`);
    for (const { message, extensions } of errors) assert.ok(codes.includes(extensions.code), `${extensions.code}: ${message.slice(0, 200)}`);
    assert.equal(JSON.parse(text).data.me.id, 'bob');
    assert.ok(time < 2_000 && wait < 1_000, `${time} ms; another waited ${wait} ms`);
  });
}

/** What something gives, and after how many milliseconds. */
async function timed(something) {
  const start = performance.now();
  const result = await something();
  return [result, performance.now() - start];
}

function twice(levels, [field, ...others]) {
  return levels === 0 ? 'id' : listed(2, () => `${field} { ${twice(levels - 1, [...others, field])} }`);
}

/** What is large, and yet nothing but a question. */
const LARGE = {
  '1,900 times the same field': `{ me { ${listed(1_900, () => 'id')} } }`,
  '600 times the same object': `{ ${listed(600, () => 'me { id name }')} }`,
  '100 aliases, each with a page': `{ ${listed(50, (n) => `a${n}: users(first: 10) { edges { b${n}: node { name } } }`)} }`,
  '60,000 commas': `{ me { id${','.repeat(60_000)} } }`,
  'a text of 60,000 characters': `{ users(search: "${'a'.repeat(60_000)}") { edges { cursor } } }`,
  'an object in an object, each written twice, nine times': `{ me { ${twice(9, ['conversation', 'contact'])} } }`,
  '40 fragments that select the same': `{ ${listed(40, (n) => `...F${n}`)} } ${listed(40, (n) => `fragment F${n} on Query { me { ${listed(10, () => 'id name')} } }`)}`,
};

for (const [what, query] of Object.entries(LARGE)) {
  test(`${what}: answered`, async () => {
    const [{ text }, time] = await timed(() => TRANSPORTS.json({ query }, 'alice'));
    assert.deepEqual(Object.keys(JSON.parse(text)), ['data'], text.slice(0, 300));
    assert.ok(time < 2_000, `${time} ms`);
  });
}
