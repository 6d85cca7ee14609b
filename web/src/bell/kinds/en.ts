/** What notifications are about, in English. */

export const kinds = {
  friend_request_accepted: 'Somebody becomes your friend',
  friend_request_received: 'Somebody asks to be friends',
  mention_received: 'Somebody mentions you',
  message_received: 'New messages',
  password_changed: 'Your password was changed',
  payment_charged_back: 'A payment to you was charged back',
  payment_completed: 'You have paid',
  payment_dispute_won: 'A dispute was decided for you',
  payment_disputed: 'A payment to you is disputed',
  payment_failed: 'A payment of yours did not work',
  payment_received: 'You were paid',
  payment_refunded: 'Money was given back to you',
  payment_taken_back: 'A dispute of yours was accepted',
  reset_password: 'Code for a new password',
  settlement_released: 'What you earned has arrived',
  verify_email: 'Code to confirm your address',
  verify_phone: 'Code to confirm your number',
  welcome: 'Welcome',
  withdrawal_failed: 'Money you took out came back',
  withdrawal_paid: 'Money you took out was sent',
  withdrawal_rejected: 'Taking money out was refused',
};

export type Kinds = typeof kinds;
