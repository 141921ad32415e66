import { useEffect, useState } from "react";

/** `value`, once it has not changed for a while. */
export function useSettled<T>(value: T, wait_ms = 400): T {
  const [settled, set] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => set(value), wait_ms);
    return () => clearTimeout(timer);
  }, [value, wait_ms]);
  return settled;
}
