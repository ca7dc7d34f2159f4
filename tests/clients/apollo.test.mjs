// Apollo Client: HTTP for queries and mutations, the socket for the inbox, and its cache over both.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { relayStylePagination } from '@apollo/client/utilities';
import { OperationTypeNode } from 'graphql';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { gate } from './inbox.mjs';
import { Service } from './support.mjs';

let service;
before(async () => {
  service = await Service.start();
  await service.register('alice', 'bob', 'carol', 'dave');
});
after(() => service?.stop());

function apollo(t, id) {
  const socket = createClient({ url: service.socket, webSocketImpl: WebSocket, connectionParams: service.authorization(id) });
  const client = new ApolloClient({
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(socket),
      new HttpLink({ uri: service.graphql, headers: service.authorization(id) }),
    ),
    cache: new InMemoryCache({
      typePolicies: { Query: { fields: { conversations: relayStylePagination(['order']) } } },
    }),
  });
  t.after(async () => {
    client.stop();
    await socket.dispose();
  });
  return client;
}

const list = gql`
  query List($first: Int, $after: String) {
    conversations(first: $first, after: $after) {
      totalCount
      edges {
        node {
          id
          unreadCount
          contact {
            id
            name
          }
          lastMessage {
            id
            text
          }
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`;

const send = gql`
  mutation Send($input: SendMessageInput!) {
    sendMessage(input: $input) {
      message {
        id
        text
      }
      conversation {
        id
        unreadCount
        lastMessage {
          id
          text
        }
      }
      userErrors {
        code
      }
    }
  }
`;

const inbox = gql`
  subscription Inbox($after: String) {
    inbox(after: $after) {
      __typename
      ... on MessageAdded {
        cursor
        conversation {
          id
          unreadCount
          lastMessage {
            id
            text
          }
        }
      }
      ... on ChatSectionChanged {
        cursor
        chatSection {
          id
          title
        }
      }
      ... on CaughtUp {
        cursor
      }
    }
  }
`;

const section = gql`
  query Section {
    chatSection {
      id
      title
    }
  }
`;

test('the cache holds pages, answers and events of one list together', async (t) => {
  for (const friend of ['bob', 'carol', 'dave']) await service.send('alice', friend, `pour ${friend}`);
  const client = apollo(t, 'alice');
  const rows = () => client.readQuery({ query: list }).conversations.edges.map(({ node }) => [node.contact.name, node.lastMessage.text, node.unreadCount]);

  const watched = client.watchQuery({ query: list, variables: { first: 2 } });
  const { data: first } = await watched.refetch();
  const { totalCount, pageInfo } = first.conversations;
  assert.deepEqual([totalCount, pageInfo.hasNextPage], [3, true]);
  await watched.fetchMore({ variables: { after: pageInfo.endCursor } });
  assert.deepEqual(rows(), [['bob', 'pour bob', 0], ['carol', 'pour carol', 0], ['dave', 'pour dave', 0]]);

  const { data: sent } = await client.mutate({ mutation: send, variables: { input: { to: 'carol', text: 'encore' } } });
  assert.deepEqual(sent.sendMessage.userErrors, []);
  assert.deepEqual(rows()[1], ['carol', 'encore', 0]);

  const came = { CaughtUp: gate(), MessageAdded: gate() };
  const subscription = client.subscribe({ query: inbox }).subscribe(({ data }) => came[data.inbox.__typename].open());
  await came.CaughtUp.opened;
  await service.send('dave', 'alice', 'merci');
  await came.MessageAdded.opened;
  assert.deepEqual(rows()[2], ['dave', 'merci', 1]);
  subscription.unsubscribe();
});

test('a new design of the section reaches the cache by the inbox', async (t) => {
  const client = apollo(t, 'alice');
  await client.query({ query: section });
  const came = { CaughtUp: gate(), ChatSectionChanged: gate() };
  const subscription = client.subscribe({ query: inbox }).subscribe(({ data }) => came[data.inbox.__typename].open());
  await came.CaughtUp.opened;
  await service.ask('admin', 'mutation { configureChatSection(input: { title: "Salon" }) { userErrors { code } } }');
  await came.ChatSectionChanged.opened;
  assert.equal(client.readQuery({ query: section }).chatSection.title, 'Salon');
  subscription.unsubscribe();
});

test('an operation that is refused as a whole is an error with its code', async (t) => {
  const client = apollo(t, 'alice');
  const variables = { first: -1 };
  await assert.rejects(client.query({ query: list, variables }), ({ errors }) => errors[0].extensions.code === 'BAD_USER_INPUT');
});
