// Random requests from a schema: most of them valid, all of them possible. And what spoils them. Everything
// follows from one seed.

import {
  getNamedType, GraphQLNonNull, isAbstractType, isCompositeType, isEnumType, isInputObjectType, isInterfaceType, isLeafType, isListType,
  isNonNullType, isObjectType, isRequiredArgument, isRequiredInputField, isScalarType, isUnionType, doTypesOverlap, Lexer, SchemaMetaFieldDef, Source,
  stripIgnoredCharacters, TokenKind, TypeMetaFieldDef,
} from 'graphql';

/** Numbers that follow from a seed: mulberry32. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** From 0 to 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count) {
    return Math.floor(this.next() * count);
  }

  chance(probability) {
    return this.next() < probability;
  }

  pick(items) {
    return items[this.below(items.length)];
  }

  shuffled(items) {
    return items.map((item) => [this.next(), item]).sort(([a], [b]) => a - b).map(([, item]) => item);
  }
}

const SMALL = ['0', '1', '2', '3', '5'];
const NUMBERS = ['-1', '50', '100', '101', '2147483647', '2147483648', '-2147483648', '-2147483649', '9007199254740993'];
const FRACTIONS = ['1.5', '2.0', '1e2', '1E-2', '-0.0'];
const CHARACTERS = ['a', 'Z', '0', ' ', 'é', 'e\u0301', 'ß', 'İ', '中', '𝐀', '𠮷', '"', '\\', '/', '\n', '\t', '\u2028', '\u200b', '#', '{', '$', "'", '`'];
const ALIASES = ['a', 'b', 'id', 'name', 'node', 'conversation', 'text', 'on', 'type', 'true', '_'];
const SEPARATORS = [' ', ' ', '\n', ', ', ' ,,\t', ' # { " }\n', '\r\n', '\ufeff '];
/** Names that begin as keywords do are names. */
const FRAGMENTS = ['F', 'F', 'F', 'onF', 'nullF', 'trueF', 'fragmentF', '_'];
const SKIPPING = ['skip', 'include'];
const SIZES = ['first', 'last'];

/** How often something is written that is probably not valid. */
const ODD = 0.004;

/** Writes one request. `words` has what to write where an argument or input field asks for text, by its name. */
export class Writer {
  #random;
  #schema;
  #words;
  #odd;
  #variables = new Map();
  #fragments = [];
  /** The fields that were written, by the type they are asked of. */
  #heads = new Map();
  /** The field that each key stands for. */
  #keys = new Map();
  /** How many fields may still come. */
  #left = 40;

  constructor(random, schema, words, odd = ODD) {
    this.#random = random;
    this.#schema = schema;
    this.#words = words;
    this.#odd = odd;
  }

  /** `{query, variables, operationName}`, where `variables` is JSON as text. */
  write(kind) {
    const kinds = [kind];
    while (this.#random.chance(0.1)) kinds.push(this.#random.pick(['query', 'mutation', 'subscription']));
    const names = kinds.map((_, index) => (kinds.length > 1 || this.#random.chance(0.4) ? `Op${index}` : ''));
    const operations = kinds.map((each, index) => this.#operation(each, names[index]));
    const definitions = this.#random.shuffled([...operations, ...this.#fragments.map(({ text }) => text)]);
    const text = definitions.join(this.#gap());
    return { query: this.#random.chance(0.1) ? stripIgnoredCharacters(text) : text, variables: this.#given(), operationName: names[0] || undefined };
  }

  #operation(kind, name) {
    const uses = new Set();
    const type = this.#schema.getRootType(kind);
    const depth = 1 + this.#random.below(7);
    const set = kind === 'subscription' ? `{${this.#subscribed(type, depth, uses)}}` : this.#set(type, depth, uses);
    const variables = [...uses].map((variable) => this.#variables.get(variable).definition).join(this.#gap());
    const isShort = kind === 'query' && !name && !variables && this.#random.chance(0.7);
    return isShort ? set : `${kind} ${name}${variables && `(${variables})`}${this.#gap()}${set}`;
  }

  /** A subscription selects one field, in fragments or not. */
  #subscribed(type, depth, uses) {
    if (this.#random.chance(0.15)) return `... ${this.#random.chance(0.5) ? `on ${type.name}` : ''} {${this.#subscribed(type, depth, uses)}}`;
    if (this.#random.chance(0.15)) return this.#newFragment(type, uses, (inside) => `{${this.#subscribed(type, depth, inside)}}`);
    return this.#field(type, depth, uses);
  }

  #given() {
    const given = [...this.#variables].filter(([, { json }]) => json !== undefined).map(([name, { json }]) => `${JSON.stringify(name)}:${json}`);
    if (this.#random.chance(0.02)) given.push('"unasked":[1]');
    return given.length > 0 || this.#random.chance(0.1) ? `{${given.join(',')}}` : undefined;
  }

  #gap() {
    return this.#random.chance(0.8) ? ' ' : this.#random.pick(SEPARATORS);
  }

  #set(type, depth, uses) {
    const selections = Array.from({ length: 1 + this.#random.below(4) }, () => this.#selection(type, depth, uses));
    return `{${selections.join(this.#gap())}}`;
  }

  /** Of a union and of an interface little can be asked but in fragments. */
  #selection(type, depth, uses) {
    const [inline, spread] = isUnionType(type) ? [0.7, 0.15] : isAbstractType(type) ? [0.45, 0.1] : [0.08, 0.08];
    const roll = this.#random.next();
    if (roll < inline && depth > 0) return this.#inline(type, depth, uses);
    if (roll >= inline && roll < inline + spread && depth > 0 && this.#left > 0) return this.#spread(type, depth, uses);
    return this.#field(type, depth, uses);
  }

  #inline(type, depth, uses) {
    const condition = this.#random.chance(0.2) ? undefined : this.#overlapping(type);
    const on = condition ? `on ${condition.name}` : '';
    return `...${on}${this.#directives(uses)}${this.#gap()}${this.#set(condition ?? type, depth - (condition === type ? 1 : 0), uses)}`;
  }

  /** A type that an object of another type may have. */
  #overlapping(type) {
    const objects = isAbstractType(type) ? this.#schema.getPossibleTypes(type) : [type];
    const around = Object.values(this.#schema.getTypeMap()).filter((other) => isAbstractType(other) && doTypesOverlap(this.#schema, other, type));
    if (this.#random.chance(this.#odd)) return this.#random.pick(Object.values(this.#schema.getTypeMap()));
    return this.#random.chance(0.75) ? this.#random.pick(objects) : this.#random.pick([type, ...around]);
  }

  #spread(type, depth, uses) {
    const fitting = this.#fragments.filter(({ on }) => doTypesOverlap(this.#schema, on, type));
    if (fitting.length > 0 && this.#random.chance(0.4)) {
      const fragment = this.#random.pick(fitting);
      fragment.uses.forEach((variable) => uses.add(variable));
      return `...${fragment.name}${this.#directives(uses)}`;
    }
    const on = this.#overlapping(type);
    return this.#newFragment(on, uses, (inside) => this.#set(on, depth - 1, inside));
  }

  #newFragment(on, uses, write) {
    const inside = new Set();
    const set = write(inside);
    // Known from here on, and so never spread in itself.
    const fragment = { name: `${this.#random.pick(FRAGMENTS)}${this.#fragments.length}`, on, uses: inside };
    fragment.text = `fragment ${fragment.name} on ${on.name}${this.#gap()}${set}`;
    this.#fragments.push(fragment);
    inside.forEach((variable) => uses.add(variable));
    return `...${this.#random.chance(0.1) ? ' ' : ''}${fragment.name}${this.#directives(uses)}`;
  }

  #field(type, depth, uses) {
    this.#left -= 1;
    const head = this.#head(type, depth, uses);
    if (!head) return this.#typeName(type, uses);
    const named = getNamedType(head.type);
    const set = isCompositeType(named) ? this.#set(named, depth - 1, uses) : '';
    const isRoot = type === this.#schema.getSubscriptionType();
    return `${head.text}${isRoot ? '' : this.#directives(uses)}${set && this.#gap()}${set}`;
  }

  #typeName(type, uses) {
    const alias = this.#random.chance(0.1) ? `${this.#random.pick(['t', '__t'])}: ` : '';
    return `${alias}__typename${type === this.#schema.getSubscriptionType() ? '' : this.#directives(uses)}`;
  }

  /** A field without what is inside it. Some are written again, to be merged. */
  #head(type, depth, uses) {
    const known = this.#heads.get(type) ?? [];
    this.#heads.set(type, known);
    const isDone = depth <= 0 || this.#left < 0;
    const again = known.filter((head) => !isDone || isLeafType(getNamedType(head.type)));
    if (again.length > 0 && this.#random.chance(0.2)) {
      const head = this.#random.pick(again);
      head.uses.forEach((variable) => uses.add(variable));
      return head;
    }
    const field = this.#pickField(type, isDone);
    if (!field) return undefined;
    const inside = new Set();
    const call = `${field.name}${this.#arguments(field, inside)}`;
    inside.forEach((variable) => uses.add(variable));
    const head = { text: this.#aliased(field, call), type: field.type, uses: inside };
    known.push(head);
    return head;
  }

  #pickField(type, isDone) {
    const fields = isObjectType(type) || isInterfaceType(type) ? Object.values(type.getFields()) : [];
    const usable = fields.filter((field) => !isDone || isLeafType(getNamedType(field.type)));
    const isQuery = type === this.#schema.getQueryType();
    if (isQuery && !isDone && this.#random.chance(0.03)) return this.#random.pick([SchemaMetaFieldDef, TypeMetaFieldDef]);
    return usable.length > 0 && !this.#random.chance(0.08) ? this.#random.pick(usable) : undefined;
  }

  /** Under a key that the document has for nothing else, mostly: then it can be merged wherever it is. */
  #aliased(field, call) {
    const key = this.#random.chance(0.2) ? this.#random.pick(ALIASES) : field.name;
    const written = key === field.name ? call : `${key}:${this.#gap()}${call}`;
    const isFree = (this.#keys.get(key) ?? call) === call;
    if (!isFree && !this.#random.chance(0.06)) return `k${this.#keys.size}_${this.#random.below(1_000)}: ${call}`;
    this.#keys.set(key, call);
    return written;
  }

  #directives(uses) {
    if (!this.#random.chance(0.1)) return '';
    const names = this.#random.chance(0.1) ? SKIPPING : [this.#random.pick(SKIPPING)];
    const boolean = new GraphQLNonNull(this.#schema.getType('Boolean'));
    return names.map((name) => ` @${name}(if: ${this.#value(boolean, 'if', { uses })})`).join('');
  }

  #arguments(field, uses) {
    const isPage = field.args.some(({ name }) => name === 'first');
    const size = isPage && this.#random.chance(0.75) ? this.#random.pick(SIZES) : undefined;
    const given = field.args.filter((argument) => {
      if (isRequiredArgument(argument)) return !this.#random.chance(this.#odd);
      if (size && SIZES.includes(argument.name)) return argument.name === size;
      return this.#random.chance(0.25);
    });
    if (given.length === 0) return '';
    const written = this.#random.shuffled(given).map(({ name, type }) => `${name}:${this.#gap()}${this.#value(type, name, { uses })}`);
    return `(${written.join(this.#gap())})`;
  }

  /** A value: in a document, where `uses` takes its variables; as a default, which has none; or in JSON. */
  #value(type, name, { uses, json = false } = {}) {
    const how = { uses, json };
    if (uses && this.#random.chance(0.25)) return `$${this.#variable(type, name, uses)}`;
    if (this.#random.chance(this.#odd)) return this.#value(this.#anyInput(), name, how);
    if (isNonNullType(type)) return this.#random.chance(this.#odd) ? 'null' : this.#present(type.ofType, name, how);
    return this.#random.chance(0.06) ? 'null' : this.#present(type, name, how);
  }

  #anyInput() {
    const types = Object.values(this.#schema.getTypeMap());
    return this.#random.pick(types.filter((type) => isScalarType(type) || isEnumType(type) || isInputObjectType(type)));
  }

  #present(type, name, how) {
    if (isListType(type)) {
      const item = () => this.#value(type.ofType, name, how);
      return this.#random.chance(0.2) ? item() : `[${Array.from({ length: this.#random.below(4) }, item).join(', ')}]`;
    }
    if (isInputObjectType(type)) return this.#object(type, how);
    if (isEnumType(type)) return this.#enumValue(type, how);
    switch (type.name) {
      case 'Int':
        return this.#random.chance(0.93) ? this.#random.pick(SMALL) : this.#random.pick(this.#random.chance(0.7) ? NUMBERS : FRACTIONS);
      case 'Float':
        return this.#random.pick([...SMALL, ...FRACTIONS]);
      case 'Boolean':
        return String(this.#random.chance(0.5));
      case 'ID':
        return this.#random.chance(0.04) ? this.#random.pick([...SMALL, ...NUMBERS, ...FRACTIONS]) : this.#string(name, how);
      default:
        return this.#string(name, how);
    }
  }

  #object(type, how) {
    const fields = Object.values(type.getFields()).filter((field) => (isRequiredInputField(field) ? !this.#random.chance(this.#odd) : this.#random.chance(0.6)));
    const key = (name) => (how.json ? JSON.stringify(name) : name);
    const written = fields.map(({ name, type: inside }) => `${key(name)}: ${this.#value(inside, name, how)}`);
    if (this.#random.chance(this.#odd)) written.push(`${key('odd')}: 1`);
    return `{${this.#random.shuffled(written).join(', ')}}`;
  }

  #enumValue(type, { json }) {
    const name = this.#random.chance(this.#odd * 3) ? 'ODD' : this.#random.pick(type.getValues()).name;
    return json || this.#random.chance(this.#odd * 3) ? JSON.stringify(name) : name;
  }

  #string(name, { json }) {
    const words = this.#words[name] ?? this.#words.any;
    const text = this.#random.chance(0.85) ? this.#random.pick(words) : randomText(this.#random, 6);
    return json ? jsonString(this.#random, text) : documentString(this.#random, text);
  }

  /** A variable for a place of some type: of that type, or of another that fits there. */
  #variable(type, name, uses) {
    const fitting = [...this.#variables].filter(([, known]) => known.type === String(type));
    if (fitting.length > 0 && this.#random.chance(0.3)) return this.#used(this.#random.pick(fitting)[0], uses);
    const variable = `v${this.#variables.size}`;
    const isRequired = isNonNullType(type);
    const hasDefault = this.#random.chance(0.2);
    const loose = isRequired && hasDefault && this.#random.chance(0.7) ? type.ofType : type;
    const strict = !isRequired && this.#random.chance(0.25) ? new GraphQLNonNull(type) : loose;
    const written = this.#random.chance(this.#odd) ? this.#anyInput() : strict;
    const standard = hasDefault ? ` = ${this.#value(written, name)}` : '';
    const mayBeAbsent = hasDefault || !isNonNullType(written);
    const isAbsent = this.#random.chance(mayBeAbsent ? 0.3 : this.#odd);
    const json = isAbsent ? undefined : this.#value(written, name, { json: true });
    this.#variables.set(variable, { type: String(type), definition: `$${variable}: ${written}${standard}`, json });
    return this.#used(variable, uses);
  }

  #used(variable, uses) {
    uses.add(variable);
    return variable;
  }
}

export function randomText(random, longest) {
  return Array.from({ length: random.below(longest) }, () => random.pick(CHARACTERS)).join('');
}

/** One of the ways to write a text in JSON. */
function jsonString(random, text) {
  const written = JSON.stringify(text);
  return random.chance(0.2) ? written.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`) : written;
}

/** One of the ways to write a text in a document. */
export function documentString(random, text) {
  if (random.chance(0.15)) {
    const lines = text.replaceAll('"""', '\\"""').replaceAll('\n', '\n  ');
    return `"""${random.pick(['', '\n', '\n  ', '\r\n\t'])}${lines}${random.pick(['\n', ' \n '])}"""`;
  }
  const escaped = [...text].map((character) => documentCharacter(random, character));
  return `"${escaped.join('')}"`;
}

function documentCharacter(random, character) {
  if (!/["\\\n\r]/.test(character) && random.chance(0.8)) return character;
  const units = [...character].length === 1 ? character.split('') : [character];
  const style = random.below(3);
  if (style === 0) return units.map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
  if (style === 1) return `\\u{${random.pick(['', '0'])}${character.codePointAt(0).toString(16)}}`;
  return { '"': '\\"', '\\': '\\\\', '/': '\\/', '\n': '\\n', '\r': '\\r', '\t': '\\t' }[character] ?? character;
}

const NOISE = ['{', '}', '(', ')', '[', ']', ':', '!', '$', '@', '|', '&', '=', '...', '"', '"""', '\\', '#', '%', '1', '-', '1.', '01', '0x1', '1a', '.5',
  'null', 'on', 'query', 'mutation', 'fragment', 'subscription', 'type', 'extend', '\u0000', '\u0007', '\ufffd', '\u00a0', 'é', '"\\ud800"', '"\\u{110000}"', '"\\x"'];
const WRONG_JSON = ['null', '1', '-1', '1.5', '"x"', '""', '"\\ud83d\\ude00"', 'true', '[]', '[[1]]', '{}', '{"a":1}', '[null]', '2147483648'];
const DIRECTIVES = ['@skip', '@skip(if: true)', '@include(if: false)', '@include(if: null)', '@skip(if: "true")', '@odd', '@deprecated', '@specifiedBy(url: "x")',
  '@skip(if: true) @skip(if: true)', '@include(if: $undefined)', '@include(if: true, odd: 1)', '@oneOf'];
const DEFINITIONS = ['{ me { id } }', 'query Op0 { me { id } }', 'fragment F0 on User { id }', 'fragment Unused on Query { me { id } }', 'type Odd { id: ID }',
  'extend type Query { odd: Int }', 'schema { query: Query }', 'fragment on on User { id }', 'query ($unused: Int) { me { id } }', 'query ($a: User) { me { id } }'];

/** Changes a request in ways that mostly make it invalid. */
export function spoil(random, request, schema) {
  const spoilt = { ...request };
  const times = random.chance(0.8) ? 1 : 2;
  for (let time = 0; time < times; time += 1) random.pick(SPOILERS)(random, spoilt, schema);
  return spoilt;
}

/** Ways to spoil a request. */
const SPOILERS = [
  (random, request) => changeName(random, request, (name) => typo(random, name)),
  (random, request) => changeName(random, request, (_, names) => random.pick(names)),
  (random, request, schema) => changeName(random, request, () => randomName(random, schema)),
  (random, request) => changeToken(random, request, () => ''),
  (random, request) => changeToken(random, request, (text) => `${text} ${text}`),
  (random, request) => changeToken(random, request, (text) => `${text} ${random.pick(NOISE)} `),
  (random, request) => changeToken(random, request, (text) => `${text} ${random.pick(DIRECTIVES)} `),
  swapTokens,
  (random, request) => dropGroup(random, request, '(', ')'),
  (random, request) => dropGroup(random, request, '{', '}'),
  (random, request) => (request.query = request.query.slice(0, random.below(request.query.length))),
  (random, request) => (request.query = inserted(random, request.query, anyCharacter(random))),
  (random, request) => afterBrace(random, request, `...F${random.below(3)} `),
  (random, request, schema) => afterBrace(random, request, `${random.pick([...ALIASES, randomName(random, schema)])}: ${randomName(random, schema)} `),
  (random, request, schema) => afterBrace(random, request, `... on ${random.pick(Object.keys(schema.getTypeMap()))} { __typename } `),
  (random, request) => (request.query = `${request.query} ${random.pick(DEFINITIONS)}`),
  (random, request) => (request.query = request.query.replace(/\$v\d+: /, (definition) => `$unused: Int ${definition}`)),
  (random, request) => (request.query = request.query.replace(/\$v\d+(?!\w|:)/, '$undefined')),
  (random, request) => (request.query = request.query.replace(/(?<=\$v\d+: )[\w[\]!]+/, (type) => otherType(random, type))),
  (random, request) => (request.operationName = random.pick([undefined, 'Op1', 'Odd'])),
  (random, request) => changeVariable(random, request, (name) => [name, random.pick(WRONG_JSON)]),
  (random, request) => changeVariable(random, request, (_, json) => ['odd', json]),
  (random, request) => (request.variables = random.pick([undefined, '{}', 'null'])),
];

function anyCharacter(random) {
  return String.fromCodePoint(random.pick([random.below(128), random.below(0xd800), 0x1f600]));
}

function otherType(random, type) {
  return random.pick([`${type}!`, `[${type}]`, type.replace('!', ''), 'User', 'Odd', 'String']);
}

function typo(random, name) {
  const at = random.below(name.length);
  return random.pick([`${name.slice(0, at)}${name.slice(at + 1)}`, `${name}x`, `${name.slice(0, at)}${name[at].toUpperCase()}${name.slice(at + 1)}`]);
}

function randomName(random, schema) {
  const type = random.pick(Object.values(schema.getTypeMap()));
  const inside = isObjectType(type) || isInterfaceType(type) || isInputObjectType(type) ? Object.keys(type.getFields()) : [type.name];
  return random.pick([...inside, '__typename']);
}

/** The tokens of a document, as far as it has any. */
function tokens(text) {
  const lexer = new Lexer(new Source(text));
  const found = [];
  try {
    while (lexer.advance().kind !== TokenKind.EOF) found.push(lexer.token);
  } catch {
    // It was spoilt here before.
  }
  return found;
}

function replaced(text, { start, end }, by) {
  return `${text.slice(0, start)}${by}${text.slice(end)}`;
}

function inserted(random, text, what) {
  const at = random.below(text.length + 1);
  return `${text.slice(0, at)}${what}${text.slice(at)}`;
}

function changeName(random, request, change) {
  const names = tokens(request.query).filter(({ kind }) => kind === TokenKind.NAME);
  if (names.length === 0) return;
  const token = random.pick(names);
  request.query = replaced(request.query, token, change(token.value, names.map(({ value }) => value)));
}

function changeToken(random, request, change) {
  const found = tokens(request.query);
  if (found.length === 0) return;
  const token = random.pick(found);
  request.query = replaced(request.query, token, change(request.query.slice(token.start, token.end)));
}

function swapTokens(random, request) {
  const found = tokens(request.query);
  if (found.length < 2) return;
  const [first, second] = [random.pick(found), random.pick(found)].sort((a, b) => a.start - b.start);
  const text = ({ start, end }) => request.query.slice(start, end);
  const [a, b] = [text(first), text(second)];
  if (first !== second) request.query = replaced(replaced(request.query, second, a), first, b);
}

/** Takes out a group with all that is in it. */
function dropGroup(random, request, open, close) {
  const found = tokens(request.query);
  const opening = found.filter(({ kind }) => kind === open);
  if (opening.length === 0) return;
  const from = random.pick(opening);
  let depth = 0;
  const to = found.slice(found.indexOf(from)).find(({ kind }) => (depth += kind === open ? 1 : kind === close ? -1 : 0) === 0);
  if (to) request.query = replaced(request.query, { start: from.start, end: to.end }, '');
}

function changeVariable(random, request, change) {
  const variables = Object.entries(JSON.parse(request.variables ?? 'null') ?? {}).map(([name, value]) => [name, JSON.stringify(value)]);
  if (variables.length === 0) return;
  const at = random.below(variables.length);
  variables[at] = change(...variables[at]);
  request.variables = `{${variables.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(',')}}`;
}

function afterBrace(random, request, text) {
  const opening = tokens(request.query).filter(({ kind }) => kind === TokenKind.BRACE_L);
  if (opening.length === 0) return;
  const { end } = random.pick(opening);
  request.query = `${request.query.slice(0, end)}${text}${request.query.slice(end)}`;
}

/** A request of which nothing can be left out any more, for it to be as `isSame` asks. */
export async function shrunk(request, isSame) {
  let shortest = request;
  for (let length = Infinity; shortest.query.length < length; ) {
    length = shortest.query.length;
    for (const part of parts) shortest = await without(shortest, part, isSame);
  }
  return shortest;
}

/** Leaves out, one after the other, the parts that can be. */
async function without(request, part, isSame) {
  let shortest = request;
  for (let at = 0, found = tokens(request.query); at < found.length; ) {
    const end = part(found, at);
    const query = end && replaced(shortest.query, { start: found[at].start, end: end.end }, ' ').trim();
    if (query?.length < shortest.query.length && (await isSame({ ...shortest, query }))) {
      shortest = { ...shortest, query };
      found = tokens(query);
    } else at += 1;
  }
  return shortest;
}

/** Where a part of a document that may be left out ends: after the next group, at the end of this one, some tokens on. */
const parts = [
  (found, at) => endOfGroup(found, at, (depth, kind) => depth === 0 && '})]'.includes(kind)),
  (found, at) => found[endOfGroupIndex(found, at) - 1],
  ...[4, 3, 2, 1].map((count) => (found, at) => found[at + count - 1]),
];

function endOfGroup(found, at, isEnd) {
  let depth = 0;
  return found.slice(at, at + 500).find(({ kind }) => {
    depth += '{(['.includes(kind) ? 1 : '})]'.includes(kind) ? -1 : 0;
    return isEnd(depth, kind);
  });
}

function endOfGroupIndex(found, at) {
  const end = endOfGroup(found, at, (depth) => depth < 0);
  return end ? found.indexOf(end) : found.length;
}
