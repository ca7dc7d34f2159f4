import { graphql } from 'react-relay';

export const inbox = graphql`
  subscription InboxSubscription($after: String) {
    inbox(after: $after) {
      __typename
      ... on MessageAdded {
        cursor
        message {
          id
          ...History_message
        }
        conversation {
          id
          ...ConversationRow_conversation
        }
      }
      ... on ConversationChanged {
        cursor
        conversation {
          id
          ...ConversationRow_conversation
        }
      }
      ... on ConversationRemoved {
        cursor
        conversationId @deleteRecord
      }
      ... on ChatSectionChanged {
        cursor
        chatSection {
          title
          listTemplate {
            number
          }
          detailTemplate {
            photo
            bubble
          }
        }
      }
      ... on ContactChanged {
        cursor
        contact {
          id
          ...Profile_user
        }
      }
      ... on CaughtUp {
        cursor
      }
      ... on ResetRequired {
        cursor
      }
    }
  }
`;
