// Short messages at the edge of the page. A toast with an action stays longer: it may be the only way to undo.
import { useSyncExternalStore } from "react";
import { Problem } from "../api/client";
import { Button } from "./controls";

type Kind = "success" | "error" | "info";
interface Toast {
  id: number;
  kind: Kind;
  text: string;
  action?: { label: string; run: () => void };
  /** Runs when it goes, except by its action. */
  gone?: () => void;
  left_ms: number;
  timer?: ReturnType<typeof setTimeout>;
  since?: number;
}

let toasts: Toast[] = [];
let next = 1;
let isHeld = false;
const listeners = new Set<() => void>();

function set(changed: Toast[]) {
  toasts = changed;
  for (const listener of listeners) listener();
}

export function toast(
  kind: Kind,
  text: string,
  { action, gone, left_ms = action ? 8_000 : 5_000 }: Partial<Pick<Toast, "action" | "gone" | "left_ms">> = {},
): number {
  const one: Toast = { id: next++, kind, text, action, gone, left_ms };
  for (const old of toasts.slice(0, -3)) dismiss(old.id);
  set([...toasts, one]);
  if (!isHeld) start(one);
  return one.id;
}

export function dismiss(id: number) {
  const one = toasts.find((toast) => toast.id === id);
  if (!one) return;
  clearTimeout(one.timer);
  set(toasts.filter((toast) => toast.id !== id));
  if (toasts.length === 0) isHeld = false;
  one.gone?.();
}

function start(one: Toast) {
  one.since = Date.now();
  one.timer = setTimeout(() => dismiss(one.id), one.left_ms);
}

/** No message goes while the pointer or the focus is on one: some need longer to reach its action. */
function hold(held: boolean) {
  if (held === isHeld) return;
  isHeld = held;
  for (const one of toasts)
    if (held) {
      clearTimeout(one.timer);
      one.left_ms = Math.max(2_000, one.left_ms - (Date.now() - (one.since ?? Date.now())));
    } else start(one);
}

/** The words of a problem as they came, so that a person can act on them. */
export function toastError(error: unknown) {
  if (error instanceof Problem) toast("error", error.field ? `${error.field}: ${error.detail}` : error.message);
  else toast("error", String(error));
}

/** Runs `commit` when the toast has gone and nobody has pressed Undo. `restore` puts the view back. */
export function undoable(text: string, commit: () => void, restore: () => void) {
  let undone = false;
  const run = () => {
    undone = true;
    dismiss(id);
    restore();
  };
  const id = toast("info", text, { action: { label: "Undo", run }, gone: () => undone || commit() });
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <section
      className="toasts"
      aria-label="Messages"
      aria-live="polite"
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={(event) => event.currentTarget.contains(event.relatedTarget) || hold(false)}
    >
      {shown.map(({ id, kind, text, action }) => (
        <div key={id} className={`toast ${kind}`} role={kind === "error" ? "alert" : "status"}>
          <span>{text}</span>
          {action && (
            <Button quiet onPress={action.run}>
              {action.label}
            </Button>
          )}
          <Button quiet label="Dismiss" onPress={() => dismiss(id)}>
            ✕
          </Button>
        </div>
      ))}
    </section>
  );
}
