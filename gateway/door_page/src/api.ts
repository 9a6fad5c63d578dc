// The server, as this phone may ask it. The credential goes in a header and nowhere else.

/** No answer in time, or one that says "not now". */
export class Silent extends Error {}

/** This phone's credential is worth nothing any more. */
export class Revoked extends Error {}

/** The server's no. `code`: its own word for it. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly facts: Record<string, unknown>,
  ) {
    super(code);
  }
}

export interface Asking {
  body?: unknown;
  headers?: Record<string, string>;
  withinMs?: number;
}

const WITHIN_MS = 10_000;
const NOT_NOW = new Set([408, 425, 429, 500, 502, 503, 504]);

export class Api {
  constructor(private readonly token: string | null) {}

  async json<T>(method: string, path: string, asking: Asking = {}): Promise<T> {
    const response = await this.answer(method, path, asking);
    try {
      return (await response.json()) as T;
    } catch {
      throw new Silent("the answer broke off");
    }
  }

  /** Raises Silent, Revoked or Refused; a 304 is an answer. */
  async answer(method: string, path: string, asking: Asking = {}): Promise<Response> {
    const { body, withinMs = WITHIN_MS } = asking;
    const headers: Record<string, string> = { ...asking.headers };
    if (this.token !== null) {
      headers["Authorization"] = `Bearer ${this.token}`;
      headers["Device-Clock"] = new Date().toISOString();
    }
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const request: RequestInit = {
      method,
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(withinMs),
      ...(body !== undefined && { body: JSON.stringify(body) }),
    };
    const response = await fetch(path, request).catch((error: unknown) => {
      throw new Silent(String(error));
    });
    if (response.ok || response.status === 304) return response;
    throw await this.problem(response);
  }

  /** A 401 of a captive portal is no revocation: only our own server's problems count. */
  private async problem(response: Response): Promise<Error> {
    const type = response.headers.get("Content-Type") ?? "";
    if (NOT_NOW.has(response.status) || !type.startsWith("application/problem+json")) {
      return new Silent(`status ${response.status}`);
    }
    const facts = (await response.json().catch(() => ({}))) as Record<string, unknown>;
    const code = String(facts["code"]);
    const own = this.token !== null && response.status === 401;
    return own ? new Revoked(code) : new Refused(response.status, code, facts);
  }
}
