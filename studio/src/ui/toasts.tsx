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
}

let toasts: Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function set(changed: Toast[]) {
  toasts = changed;
  for (const listener of listeners) listener();
}

export function toast(kind: Kind, text: string, action?: Toast["action"], lasting_ms = action ? 8_000 : 5_000): number {
  const id = next++;
  set([...toasts.slice(-3), { id, kind, text, action }]);
  setTimeout(() => dismiss(id), lasting_ms);
  return id;
}

export function dismiss(id: number) {
  set(toasts.filter((toast) => toast.id !== id));
}

/** The words of a problem as they came, so that a person can act on them. */
export function toastError(error: unknown) {
  if (error instanceof Problem) toast("error", error.field ? `${error.field}: ${error.detail}` : error.message);
  else toast("error", String(error));
}

/** Runs `commit` when the toast has gone and nobody has pressed Undo. `restore` puts the view back. */
export function undoable(text: string, commit: () => void, restore: () => void) {
  let undone = false;
  const end = setTimeout(() => undone || commit(), 6_000);
  const id = toast(
    "info",
    text,
    {
      label: "Undo",
      run: () => {
        undone = true;
        clearTimeout(end);
        dismiss(id);
        restore();
      },
    },
    6_000,
  );
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
    <section className="toasts" aria-label="Messages" aria-live="polite">
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
