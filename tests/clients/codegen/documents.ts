import { graphql } from './gql';

export const row = graphql(`
  fragment Row on Conversation {
    id
    contact {
      name
    }
    unreadCount
    lastMessageAt
    actions
  }
`);

export const list = graphql(`
  query List($order: ConversationOrder, $first: Int, $after: String) {
    conversations(order: $order, first: $first, after: $after) {
      totalCount
      edges {
        node {
          ...Row
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`);

export const send = graphql(`
  mutation Send($input: SendMessageInput!) {
    sendMessage(input: $input) {
      message {
        id
        text
        sentAt
      }
      userErrors {
        code
        message
        field
      }
    }
  }
`);

export const inbox = graphql(`
  subscription Inbox($after: String) {
    inbox(after: $after) {
      __typename
      ... on MessageAdded {
        cursor
        message {
          text
        }
      }
      ... on CaughtUp {
        cursor
      }
    }
  }
`);
