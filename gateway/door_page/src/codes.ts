// Codes as they are read or typed: a ticket's token, a phone's enrolment. Pure.

export const TOKEN_MAX = 512;
const ENROLMENT = /^[A-Z2-7]{16}$/;
const UUID_HEX = /^[0-9a-f]{32}$/;

/** The enrolment code in a text: the code itself, or this page's address with the code behind #. */
export function enrolmentIn(text: string): string | null {
  const [, behind] = text.split("#", 2);
  const plain = (behind ?? text).toUpperCase().replace(/[^A-Z0-9]/g, "");
  return ENROLMENT.test(plain) ? plain : null;
}

/** A token as somebody typed it: without blanks, in lower case, its hyphens where they belong. */
export function typedToken(text: string): string {
  const plain = text.trim().toLowerCase();
  const hex = plain.replace(/[\s-]/g, "");
  if (!UUID_HEX.test(hex)) return text.trim();
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export function canBeToken(text: string): boolean {
  return text.length > 0 && text.length <= TOKEN_MAX;
}
