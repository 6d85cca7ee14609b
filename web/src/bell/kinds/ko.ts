/** What notifications are about, in Korean. */

import type { Kinds } from './en';

export const kinds: Kinds = {
  friend_request_accepted: '친구 요청 수락',
  friend_request_received: '새 친구 요청',
  mention_received: '나를 언급한 메시지',
  message_received: '새 메시지',
  password_changed: '비밀번호 변경',
  payment_charged_back: '받은 결제의 취소',
  payment_completed: '결제 완료',
  payment_dispute_won: '받은 결제의 이의 제기 종료',
  payment_disputed: '받은 결제에 대한 이의 제기',
  payment_failed: '결제 실패',
  payment_received: '받은 결제',
  payment_refunded: '환불',
  payment_taken_back: '내 이의 제기 수락',
  reset_password: '새 비밀번호를 위한 코드',
  settlement_released: '정산금 입금',
  verify_email: '이메일 확인 코드',
  verify_phone: '전화번호 확인 코드',
  welcome: '환영 인사',
  withdrawal_failed: '출금 실패',
  withdrawal_paid: '출금 완료',
  withdrawal_rejected: '출금 거절',
};
