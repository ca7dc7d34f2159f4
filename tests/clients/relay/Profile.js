import { graphql } from 'react-relay';

export const profile = graphql`
  fragment Profile_user on User @refetchable(queryName: "ProfileRefetchQuery") {
    name
    avatarUrl
    canMessage
    blocked
    conversation {
      id
    }
  }
`;

export const block = graphql`
  mutation ProfileBlockMutation($input: BlockUserInput!) {
    blockUser(input: $input) {
      user {
        ...Profile_user
      }
      conversation {
        ...ConversationRow_conversation
      }
      userErrors {
        code
        message
      }
    }
  }
`;
