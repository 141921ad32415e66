// What every section of this page is made of.
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { request } from "../../api/client";
import { queryClient } from "../../api/queries";
import { Failed, Skeletons } from "../../ui/feedback";
import { toastError } from "../../ui/toasts";

export const useAdmin = <T,>(path: string, query?: Record<string, string | number>, refresh_ms = 15_000) =>
  useQuery({
    queryKey: ["admin", path, query],
    queryFn: () => request<T>("GET", path, { query }),
    refetchInterval: refresh_ms,
  });

/** Runs `work`, says what goes wrong, and reads this page's figures anew. */
export async function attempt(work: () => Promise<unknown>) {
  try {
    await work();
  } catch (error) {
    toastError(error);
  }
  queryClient.invalidateQueries({ queryKey: ["admin"] });
}

interface Props {
  title: string;
  query: { isPending: boolean; isError: boolean; error: unknown; refetch: () => void };
  children: ReactNode;
}

export function Card({ title, query, children }: Props) {
  return (
    <section className="card" aria-label={title}>
      <h2>{title}</h2>
      {query.isPending && <Skeletons count={2} className="line" />}
      {query.isError && <Failed error={query.error} retry={query.refetch} />}
      {children}
    </section>
  );
}
