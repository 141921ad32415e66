// Jobs that were asked for while the stack was away: kept in this browser, sent once when it answers again.
import { Problem, request } from "./client";

interface Waiting {
  body: Record<string, unknown>;
  /** The same key and body are one job, however often they are sent. */
  key: string;
}

const KEPT = "outbox";
const MOST = 100;
let sending = false;

const all = (): Waiting[] => JSON.parse(localStorage.getItem(KEPT) ?? "[]");
const keep = (waiting: Waiting[]) => localStorage.setItem(KEPT, JSON.stringify(waiting.slice(0, MOST)));

/** Whether it is kept: a job with large pictures may be more than a browser stores. */
export function later(body: Record<string, unknown>, key: string): boolean {
  try {
    keep([...all(), { body, key }]);
    return true;
  } catch {
    return false;
  }
}

/** The number that was sent. What the stack refuses is not tried again. */
export async function sendOutbox(): Promise<number> {
  if (sending) return 0;
  sending = true;
  let sent = 0;
  try {
    for (let next = all()[0]; next; next = all()[0]) {
      try {
        await request("POST", "/v1/jobs", { body: next.body, headers: { "Idempotency-Key": next.key } });
        sent += 1;
      } catch (error) {
        if (error instanceof Problem && error.isUnreachable) break;
      }
      keep(all().slice(1));
    }
  } finally {
    sending = false;
  }
  return sent;
}
