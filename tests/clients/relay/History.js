import { graphql } from 'react-relay';

// A history opens at its newest page and grows backwards.
export const history = graphql`
  fragment History_conversation on Conversation
  @refetchable(queryName: "HistoryPaginationQuery")
  @argumentDefinitions(count: { type: "Int", defaultValue: 50 }, cursor: { type: "String" }) {
    messages(last: $count, before: $cursor) @connection(key: "History_messages") {
      __id
      edges {
        node {
          id
          ...History_message
        }
      }
    }
  }
`;

export const message = graphql`
  fragment History_message on Message {
    sender {
      id
      name
      avatarUrl
    }
    text
    sentAt
    mine
  }
`;

export const screen = graphql`
  query HistoryQuery($with: ID!, $count: Int) {
    conversation(with: $with) {
      id
      contact {
        ...Profile_user
      }
      ...History_conversation @arguments(count: $count)
    }
  }
`;

// The client chooses the message's id, so that what it shows before the answer and the answer are one record.
export const send = graphql`
  mutation HistorySendMutation($input: SendMessageInput!, $connections: [ID!]!) @raw_response_type {
    sendMessage(input: $input) {
      message @appendNode(connections: $connections, edgeTypeName: "MessageEdge") {
        id
        ...History_message
      }
      conversation {
        id
        ...ConversationRow_conversation
      }
      userErrors {
        code
        message
        field
      }
    }
  }
`;
