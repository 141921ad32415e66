import { cleanup } from "@testing-library/react";
import { afterEach, vi } from "vitest";

// What jsdom lacks.
Element.prototype.setPointerCapture = () => {};
Element.prototype.scrollIntoView = () => {};
vi.stubGlobal("CSS", { escape: (text: string) => text });

afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
  localStorage.clear();
});
