import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { queryClient } from "./api/queries";
import { router } from "./routes";
import { Toasts } from "./ui/toasts";
import "./ui/tokens.css";
import "./ui/styles.css";

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
      <Toasts />
    </QueryClientProvider>
  </StrictMode>,
);

// Only on a page of its own origin with TLS, or on this machine; browsers offer it nowhere else.
if (import.meta.env.PROD) navigator.serviceWorker?.register("/studio/worker.js", { scope: "/" }).catch(() => {});
