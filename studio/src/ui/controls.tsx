// The form controls of every page: react-aria-components with the project's classes.
import { type ReactNode, useRef, useState } from "react";
import * as aria from "react-aria-components";

interface ButtonProps {
  children: ReactNode;
  onPress?: () => void;
  label?: string;
  primary?: boolean;
  quiet?: boolean;
  isDisabled?: boolean;
  type?: "button" | "submit";
  pressed?: boolean;
  autoFocus?: boolean;
}

export function Button({ children, label, primary, quiet, pressed, ...rest }: ButtonProps) {
  const kind = primary ? "primary" : quiet ? "quiet" : "plain";
  return (
    <aria.Button className={`button ${kind}`} aria-label={label} aria-pressed={pressed} {...rest}>
      {children}
    </aria.Button>
  );
}

interface LinkButtonProps {
  href: string;
  download?: string;
  onClick?: () => void;
  label?: string;
  children: ReactNode;
}

export function LinkButton({ href, download, onClick, label, children }: LinkButtonProps) {
  return (
    <a className="button plain" href={href} download={download} onClick={onClick} aria-label={label}>
      {children}
    </a>
  );
}

interface TextProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  rows?: number;
  hint?: ReactNode;
  placeholder?: string;
  type?: string;
  maxLength?: number;
  autoFocus?: boolean;
  autoComplete?: string;
}

export function Text({ label, rows, hint, placeholder, autoFocus, ...rest }: TextProps) {
  return (
    <aria.TextField className="field" {...rest}>
      <aria.Label>{label}</aria.Label>
      {rows ? (
        <aria.TextArea className="input" rows={rows} placeholder={placeholder} autoFocus={autoFocus} />
      ) : (
        <aria.Input className="input" placeholder={placeholder} autoFocus={autoFocus} />
      )}
      {hint && (
        <aria.Text slot="description" className="hint">
          {hint}
        </aria.Text>
      )}
    </aria.TextField>
  );
}

interface NumberProps {
  label: string;
  value: number | null;
  onChange: (value: number | null) => void;
  min?: number;
  max?: number;
  step?: number;
  placeholder?: string;
}

/** Empty means: what the stack takes by itself. */
export function NumberInput({ label, value, onChange, min, max, step, placeholder }: NumberProps) {
  return (
    <aria.NumberField
      className="field"
      value={value ?? Number.NaN}
      onChange={(next) => onChange(Number.isNaN(next) ? null : next)}
      minValue={min}
      maxValue={max}
      step={step}
      formatOptions={{ useGrouping: false, maximumFractionDigits: 2 }}
    >
      <aria.Label>{label}</aria.Label>
      <aria.Input className="input" placeholder={placeholder} />
    </aria.NumberField>
  );
}

interface RangeProps {
  label: string;
  value: number;
  onChange: (value: number) => void;
  min: number;
  max: number;
  step?: number;
  shown?: string;
}

export function Range({ label, value, onChange, min, max, step = 1, shown }: RangeProps) {
  return (
    <aria.Slider
      className="slider"
      value={value}
      onChange={(next) => onChange(next as number)}
      minValue={min}
      maxValue={max}
      step={step}
    >
      <aria.Label>{label}</aria.Label>
      <aria.SliderOutput>{shown ?? String(value)}</aria.SliderOutput>
      <aria.SliderTrack className="track">
        <aria.SliderThumb className="thumb" />
      </aria.SliderTrack>
    </aria.Slider>
  );
}

interface SettledProps {
  label: string;
  value: number;
  /** Once the pointer or the key is let go. */
  onSettled: (value: number) => void;
  min: number;
  max: number;
  unit: string;
}

/** A range whose every value costs something: only the last one counts. */
export function SettledRange({ value, onSettled, unit, ...rest }: SettledProps) {
  const [moved, setMoved] = useState<number>();
  const shown = moved ?? value;
  return (
    <aria.Slider
      className="slider"
      value={shown}
      onChange={(next) => setMoved(next as number)}
      onChangeEnd={(next) => {
        if (next !== value) onSettled(next as number);
      }}
      minValue={rest.min}
      maxValue={rest.max}
    >
      <aria.Label>{rest.label}</aria.Label>
      <aria.SliderOutput>{`${shown} ${unit}`}</aria.SliderOutput>
      <aria.SliderTrack className="track">
        <aria.SliderThumb className="thumb" />
      </aria.SliderTrack>
    </aria.Slider>
  );
}

interface BetweenProps {
  label: string;
  value: [number, number];
  onChange: (value: [number, number]) => void;
  min: number;
  max: number;
  step: number;
  /** Of the two ends, from the first one on. */
  least: number;
  shown: string;
}

/** A range by its two ends, which stay apart. */
export function Between({ label, value, onChange, min, max, step, least, shown }: BetweenProps) {
  return (
    <aria.Slider
      className="slider"
      value={value}
      onChange={([from = min, to = max]) => to - from >= least - step / 100 && onChange([from, to])}
      minValue={min}
      maxValue={max}
      step={step}
    >
      <aria.Label>{label}</aria.Label>
      <aria.SliderOutput>{shown}</aria.SliderOutput>
      <aria.SliderTrack className="track">
        <aria.SliderThumb index={0} className="thumb" aria-label="From" />
        <aria.SliderThumb index={1} className="thumb" aria-label="To" />
      </aria.SliderTrack>
    </aria.Slider>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  options: { id: string; name: string }[];
  isDisabled?: boolean;
  hint?: string;
  /** While none of the options is chosen. */
  placeholder?: string;
  /** Where the place says it, too, as in a table. */
  isLabelHidden?: boolean;
}

export function Choice({ label, value, onChange, options, hint, isLabelHidden, ...rest }: ChoiceProps) {
  return (
    <aria.Select className="field" selectedKey={value} onSelectionChange={(key) => onChange(String(key))} {...rest}>
      <aria.Label className={isLabelHidden ? "off-screen" : undefined}>{label}</aria.Label>
      <aria.Button className="input select">
        <aria.SelectValue />
        <span aria-hidden="true">▾</span>
      </aria.Button>
      {hint && (
        <aria.Text slot="description" className="hint">
          {hint}
        </aria.Text>
      )}
      <aria.Popover className="popover">
        <aria.ListBox className="listbox" items={options}>
          {(option) => <aria.ListBoxItem className="option">{option.name}</aria.ListBoxItem>}
        </aria.ListBox>
      </aria.Popover>
    </aria.Select>
  );
}

interface ToggleProps {
  label: string;
  value: boolean;
  onChange: (value: boolean) => void;
}

export function Toggle({ label, value, onChange }: ToggleProps) {
  return (
    <aria.Switch className="switch" isSelected={value} onChange={onChange}>
      <span className="knob" />
      {label}
    </aria.Switch>
  );
}

interface SegmentsProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  options: { id: string; name: string }[];
}

/** A few choices side by side, one of them taken. */
export function Segments({ label, value, onChange, options }: SegmentsProps) {
  return (
    <aria.RadioGroup className="segments" aria-label={label} orientation="horizontal" value={value} onChange={onChange}>
      {options.map(({ id, name }) => (
        <aria.Radio key={id} value={id} className="segment">
          {name}
        </aria.Radio>
      ))}
    </aria.RadioGroup>
  );
}

interface SectionProps {
  title: string;
  /** Of what is set in it. */
  count?: number;
  isOpen?: boolean;
  children: ReactNode;
}

/** A part of a form that is folded away until it is needed. Only the user closes it: the focus may be in it. */
export function Section({ title, count, isOpen, children }: SectionProps) {
  const wasOpen = useRef(false);
  wasOpen.current ||= isOpen ?? false;
  return (
    <details className="more" open={wasOpen.current || undefined}>
      <summary>
        {title}
        {!!count && <span className="chip">{count}</span>}
      </summary>
      {children}
    </details>
  );
}

interface MoreProps {
  text: string;
  label: string;
  actions: { name: string; run: () => void }[];
}

/** A button with further ones in a popover. */
export function More({ text, label, actions }: MoreProps) {
  const [isOpen, setOpen] = useState(false);
  return (
    <aria.DialogTrigger isOpen={isOpen} onOpenChange={setOpen}>
      <aria.Button className="button plain" aria-label={label}>
        {text} <span aria-hidden="true">▾</span>
      </aria.Button>
      <aria.Popover className="popover" aria-label={label}>
        <div className="choices">
          {actions.map(({ name, run }, index) => (
            <Button
              key={name}
              quiet
              autoFocus={index === 0}
              onPress={() => {
                setOpen(false);
                run();
              }}
            >
              {name}
            </Button>
          ))}
        </div>
      </aria.Popover>
    </aria.DialogTrigger>
  );
}

interface DropProps {
  label: string;
  accept: string[];
  multiple?: boolean;
  onFiles: (files: File[]) => void;
  /** Takes a picture that is dragged from another page by its address; `false` for one that it does not know. */
  onAddress?: (address: string) => boolean;
  children: ReactNode;
}

/** Files by drag and drop, or by the file dialog. */
export function Drop({ label, accept, multiple, onFiles, onAddress, children }: DropProps) {
  return (
    <aria.DropZone
      className="drop"
      aria-label={label}
      onDrop={async ({ items }) => {
        const linked = items.find((item) => item.kind === "text" && item.types.has("text/uri-list"));
        if (onAddress && linked?.kind === "text" && onAddress(await linked.getText("text/uri-list"))) return;
        const files = items.filter((item) => item.kind === "file");
        if (files.length) onFiles(await Promise.all(files.map((item) => item.getFile())));
      }}
    >
      {children}
      <aria.FileTrigger
        acceptedFileTypes={accept}
        allowsMultiple={multiple}
        onSelect={(list) => list && onFiles([...list])}
      >
        <aria.Button className="button plain">Choose {multiple ? "files" : "a file"}</aria.Button>
      </aria.FileTrigger>
    </aria.DropZone>
  );
}

interface DialogProps {
  title: string;
  isOpen: boolean;
  onClose: () => void;
  children: ReactNode;
  wide?: boolean;
}

export function Dialog({ title, isOpen, onClose, children, wide }: DialogProps) {
  return (
    <aria.ModalOverlay className="overlay" isOpen={isOpen} onOpenChange={(open) => open || onClose()} isDismissable>
      <aria.Modal className={wide ? "modal wide" : "modal"}>
        <aria.Dialog className="dialog">
          <header className="row spread">
            <aria.Heading slot="title">{title}</aria.Heading>
            <Button quiet label="Close" onPress={onClose}>
              ✕
            </Button>
          </header>
          {children}
        </aria.Dialog>
      </aria.Modal>
    </aria.ModalOverlay>
  );
}
