// State that outlives a page: one value, shared by all components that use it.
import { useSyncExternalStore } from "react";

export interface Store<T> {
  get: () => T;
  change: (change: Partial<T>) => void;
  use: () => T;
}

/** `keep` is called with every new value. */
export function store<T extends object>(initial: () => T, keep: (value: T) => void = () => {}): Store<T> {
  let value: T | undefined;
  const listeners = new Set<() => void>();
  const get = () => {
    value ??= initial();
    return value;
  };
  return {
    get,
    change: (change) => {
      value = { ...get(), ...change };
      keep(value);
      for (const listener of listeners) listener();
    },
    use: () =>
      useSyncExternalStore((listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      }, get),
  };
}
