import { graphql } from 'react-relay';

// Blocked rows are last in both orders, so a change of order is another list: the order filters the connection.
export const list = graphql`
  fragment ConversationList_query on Query
  @refetchable(queryName: "ConversationListPaginationQuery")
  @argumentDefinitions(
    count: { type: "Int", defaultValue: 20 }
    cursor: { type: "String" }
    order: { type: "ConversationOrder" }
  ) {
    conversations(first: $count, after: $cursor, order: $order)
      @connection(key: "ConversationList_conversations", filters: ["order"]) {
      __id
      totalCount
      unreadCount
      edges {
        node {
          id
          ...ConversationRow_conversation
        }
      }
    }
  }
`;

export const row = graphql`
  fragment ConversationRow_conversation on Conversation {
    contact {
      name
      avatarUrl
    }
    blocked
    unreadCount
    lastMessage {
      text
    }
    lastMessageAt
    actions
  }
`;

export const screen = graphql`
  query ConversationListQuery($count: Int, $order: ConversationOrder) {
    me {
      id
      name
    }
    chatSection {
      title
      listTemplate {
        number
        showsAvatar
        showsUnreadBadge
      }
    }
    ...ConversationList_query @arguments(count: $count, order: $order)
  }
`;

export const remove = graphql`
  mutation ConversationListDeleteMutation($input: DeleteConversationInput!, $connections: [ID!]!) {
    deleteConversation(input: $input) {
      deletedConversationId @deleteEdge(connections: $connections)
      warning
      userErrors {
        code
        message
      }
    }
  }
`;
