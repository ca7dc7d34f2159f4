// A front end in small: it compiles only if the types that were made say what the schema says.
// Each `@ts-expect-error` is an error itself where the compiler would let the line pass.

import type { TypedDocumentNode } from '@graphql-typed-document-node/core';

import { inbox, list, row, send } from './documents';
import { useFragment } from './gql';

declare function ask<Data, Variables>(document: TypedDocumentNode<Data, Variables>, variables: Variables): Data;

const { conversations } = ask(list, { first: 20, order: 'NEWEST_FIRST' });
for (const { node } of conversations.edges) {
  const { contact, actions, lastMessageAt } = useFragment(row, node);
  const name: string = contact.name;
  const date: string | null = lastMessageAt;
  const deletes: boolean = actions.includes('DELETE');
  // @ts-expect-error: an empty conversation has no date.
  const always: string = lastMessageAt;
  console.log(name, date, deletes, always);
}

// @ts-expect-error: there is no such order.
ask(list, { order: 'BY_NAME' });

const { sendMessage } = ask(send, { input: { to: 'bob', text: 'Bonjour !' } });
for (const { code, field } of sendMessage.userErrors) {
  const refused: boolean = code === 'NOT_CONTACTABLE';
  const path: string[] | null = field;
  console.log(refused, path);
}
// @ts-expect-error: a refusal has no message.
console.log(sendMessage.message.text);
// @ts-expect-error: a message has a text.
ask(send, { input: { to: 'bob' } });

const event = ask(inbox, {}).inbox;
switch (event.__typename) {
  case 'MessageAdded':
    console.log(event.message.text, event.cursor);
    break;
  case 'CaughtUp':
    console.log(event.cursor);
    break;
  default:
    // @ts-expect-error: what was not asked for is not there.
    console.log(event.cursor);
}
