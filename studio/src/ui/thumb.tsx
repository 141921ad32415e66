/** A thumb up, drawn here: fonts without emoji have none. */
export function Thumb({ filled }: { filled: boolean }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" fill={filled ? "currentColor" : "none"}>
      <path d="M8 21H4V10h4Zm0 0V10l4-7c2 0 2.5 1.5 2 3l-1 4h6c1.5 0 2.2 1 2 2.2l-1.4 7c-.2 1.2-1 1.8-2 1.8Z" />
    </svg>
  );
}
