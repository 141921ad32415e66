// Requests to the gateway. Errors are RFC 9457 problems; everything else that goes wrong becomes one, too.
import type { components } from "./schema";

export type Schemas = components["schemas"];
type Query = Record<string, string | number | boolean | null | undefined>;

export class Problem extends Error {
  constructor(
    readonly title: string,
    readonly detail: string,
    readonly status: number,
    readonly field?: string,
    readonly retryAfterS?: number,
  ) {
    super(detail || title);
  }
  /** Whether the stack does not answer at all, as opposed to refusing. */
  get isUnreachable(): boolean {
    return this.status === 0 || this.status === 502;
  }
}

/** On a site without keys some routes ask whose things are meant; with a key they know. */
let named: string | undefined;

export function nameUser(user: string | undefined) {
  named = user;
}

/** The query of a route that asks whose things are meant. */
export const own = (query: Query = {}): Query => ({ ...query, user_id: named });

interface Options {
  query?: Query;
  body?: unknown;
  form?: FormData;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export async function send(method: string, path: string, options: Options = {}): Promise<Response> {
  const url = path + queryString(options.query);
  const headers: Record<string, string> = { Accept: "application/json", ...options.headers };
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  const body = options.form ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
  let response: Response;
  try {
    response = await fetch(url, { method, headers, body, signal: options.signal, credentials: "same-origin" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem("The stack does not answer", "The connection failed. It is tried again.", 0);
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const response = await send(method, path, options);
  return response.status === 204 ? (undefined as T) : ((await response.json()) as T);
}

function queryString(query: Query = {}): string {
  const present = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const pairs = new URLSearchParams(present.map(([name, value]) => [name, String(value)]));
  return present.length ? `?${pairs}` : "";
}

async function problemOf(response: Response): Promise<Problem> {
  const after = Number(response.headers.get("Retry-After"));
  try {
    const body = await response.json();
    const detail = body.detail ?? body.error?.message ?? body.error ?? "";
    const title = body.title ?? response.statusText;
    return new Problem(title, String(detail), response.status, body.field ?? undefined, after || undefined);
  } catch {
    return new Problem(response.statusText || "Error", `Status ${response.status}`, response.status, undefined, after);
  }
}

/** An absolute address of this site, for the origin that the page has: the site may have several names. */
export function local(url: string): string {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

/** `url` with more in its query; signed addresses have one already. */
export function withQuery(url: string, query: Record<string, string | number>): string {
  const added = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  return `${url}${url.includes("?") ? "&" : "?"}${added}`;
}
