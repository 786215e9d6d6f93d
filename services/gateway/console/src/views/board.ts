// The map itself, drawn without the framework: thousands of nodes come at once, and afterwards only what changed is touched.
// To assistive technology it is a list of nodes; the arrow keys walk it.
import { condition, grouped, holder, sought, type Eye, type Group, type Seek } from "../map.js";
import type { Gpu, Node } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";

/** Up to so many nodes, their names are written beside them. */
const NAMED = 160;

export interface Words {
  /** A node in one line. */
  node(node: Node): string;
  /** A group's name, and what is free in it. */
  group(group: Group, by: Seek["group"]): { name: string; count: string };
}

interface Tile {
  element: HTMLElement;
  node: Node;
}

export class Board {
  private tiles = new Map<string, Tile>();
  private heads = new Map<string, { name: HTMLElement; count: HTMLElement }>();
  private layout = "";
  private paint = "";
  private current = "";

  constructor(
    private readonly root: HTMLElement,
    private readonly events: {
      /** The pointer or the focus is on a node, maybe on one of its GPUs; null when it left. */
      over(at: { element: HTMLElement; node: Node; gpu: Gpu | undefined } | null): void;
      choose(node: Node, gpu: Gpu | undefined): void;
    },
  ) {
    root.addEventListener("pointerover", (event) => this.over(event.target));
    root.addEventListener("pointerleave", () => events.over(null));
    root.addEventListener("focusin", (event) => this.focused(event.target));
    root.addEventListener("focusout", () => events.over(null));
    root.addEventListener("click", (event) => this.click(event.target));
    root.addEventListener("keydown", (event) => this.key(event));
  }

  /** Shows these nodes. `version` changes when words or colours do. */
  show(nodes: readonly Node[], seek: Seek, eye: Eye, words: Words, version: string) {
    const groups = grouped(nodes, seek.group);
    const layout = groups.map(({ key, nodes: list }) => `${key}:${list.map((node) => node.name).join()}`).join(";");
    const paint = `${version}|${seek.job}|${seek.account}`;
    const anew = paint !== this.paint;
    for (const node of nodes) {
      const tile = this.tiles.get(node.name);
      if (tile && tile.node === node && !anew) continue;
      this.tiles.set(node.name, this.draw(node, tile?.element, seek, eye, words));
    }
    if (layout !== this.layout || anew) this.lay(groups, nodes.length);
    for (const group of groups) {
      const head = this.heads.get(group.key);
      if (!head) continue;
      const { name, count } = words.group(group, seek.group);
      if (head.name.textContent !== name) head.name.textContent = name;
      if (head.count.textContent !== count) head.count.textContent = count;
      head.name.closest("[role=group]")?.setAttribute("aria-label", name);
    }
    this.layout = layout;
    this.paint = paint;
    this.mark(seek.node);
  }

  private draw(node: Node, before: HTMLElement | undefined, seek: Seek, eye: Eye, words: Words): Tile {
    const element = before ?? document.createElement("div");
    if (!before) {
      element.setAttribute("role", "option");
      element.setAttribute("aria-selected", "false");
      element.tabIndex = -1;
      element.dataset.node = node.name;
    }
    element.className = `tile ${condition(node)}`;
    element.setAttribute("aria-label", words.node(node));
    const wanted = sought(seek);
    const cells = node.gpus.length;
    if (!before || element.childElementCount !== Math.max(1, cells) + 1) {
      const name = document.createElement("span");
      name.textContent = node.name;
      element.replaceChildren(name);
      for (let at = 0; at < Math.max(1, cells); at++) element.append(document.createElement("i"));
    }
    // Four in a row reads as a server does.
    element.dataset.width = String(Math.min(4, Math.max(1, cells)));
    for (let at = 0; at < Math.max(1, cells); at++) {
      const cell = element.children[at + 1] as HTMLElement;
      const gpu = node.gpus[at];
      const off = wanted && !gpu?.jobs.some(wanted) ? " off" : "";
      const name = gpu ? holder(gpu, eye) + off : "none";
      if (cell.className !== name) cell.className = name;
      const fill = gpu && gpu.heldMillis > 0 && gpu.heldMillis < 1000 ? `${gpu.heldMillis / 10}%` : "";
      if (cell.style.getPropertyValue("--fill") !== fill) cell.style.setProperty("--fill", fill || null);
    }
    return { element, node };
  }

  private lay(groups: Group[], count: number) {
    const kept = new Set<string>();
    this.heads.clear();
    const fragment = document.createDocumentFragment();
    for (const { key, nodes } of groups) {
      const box = document.createElement("div");
      box.setAttribute("role", "group");
      box.className = "district";
      const head = document.createElement("div");
      head.className = "head";
      head.setAttribute("aria-hidden", "true");
      const [name, number] = [document.createElement("b"), document.createElement("span")];
      head.append(name, number);
      this.heads.set(key, { name, count: number });
      const streets = document.createElement("div");
      streets.className = "streets";
      streets.setAttribute("role", "none");
      for (const node of nodes) {
        kept.add(node.name);
        streets.append(this.tiles.get(node.name)!.element);
      }
      box.append(head, streets);
      fragment.append(box);
    }
    const focus = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.node : undefined;
    this.root.replaceChildren(fragment);
    this.root.classList.toggle("named", count <= NAMED);
    for (const name of this.tiles.keys()) if (!kept.has(name)) this.tiles.delete(name);
    if (focus && kept.has(focus)) this.tiles.get(focus)?.element.focus({ preventScroll: true });
  }

  /** One node can be reached with the Tab key: the last one that was looked at, else the first. */
  private mark(selected: string) {
    for (const each of this.root.querySelectorAll("[aria-selected=true]")) {
      if ((each as HTMLElement).dataset.node !== selected) each.setAttribute("aria-selected", "false");
    }
    this.tiles.get(selected)?.element.setAttribute("aria-selected", "true");
    const [first] = this.root.getElementsByClassName("tile");
    const name = this.tiles.has(this.current) ? this.current : ((first as HTMLElement | undefined)?.dataset.node ?? "");
    this.reach(name);
  }

  private reach(name: string) {
    const before = this.tiles.get(this.current)?.element;
    if (before) before.tabIndex = -1;
    this.current = name;
    const next = this.tiles.get(name)?.element;
    if (next) next.tabIndex = 0;
  }

  private at(target: EventTarget | null) {
    const element = target instanceof Element ? target.closest<HTMLElement>(".tile") : null;
    const tile = element && this.tiles.get(element.dataset.node ?? "");
    if (!element || !tile) return null;
    const index = target instanceof HTMLElement && target.tagName === "I" ? [...element.children].indexOf(target) - 1 : -1;
    return { element, node: tile.node, gpu: tile.node.gpus[index] };
  }

  private over(target: EventTarget | null) {
    this.events.over(this.at(target));
  }

  private focused(target: EventTarget | null) {
    const at = this.at(target);
    if (at) this.reach(at.node.name);
    this.events.over(at);
  }

  private click(target: EventTarget | null) {
    const at = this.at(target);
    if (at) this.events.choose(at.node, at.gpu);
  }

  private key(event: KeyboardEvent) {
    const at = this.at(event.target);
    if (!at || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return this.events.choose(at.node, undefined);
    }
    const tiles = [...this.root.getElementsByClassName("tile")] as HTMLElement[];
    const here = tiles.indexOf(at.element);
    const next =
      event.key === "ArrowRight" ? tiles[here + 1]
      : event.key === "ArrowLeft" ? tiles[here - 1]
      : event.key === "Home" ? tiles[0]
      : event.key === "End" ? tiles.at(-1)
      : event.key === "ArrowDown" ? beyond(tiles.slice(here + 1), at.element, 1)
      : event.key === "ArrowUp" ? beyond(tiles.slice(0, here).reverse(), at.element, -1)
      : undefined;
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}

/** The nearest tile in the next row that way. */
function beyond(tiles: HTMLElement[], from: HTMLElement, way: 1 | -1): HTMLElement | undefined {
  const here = from.getBoundingClientRect();
  let [best, distance, row] = [undefined as HTMLElement | undefined, Infinity, NaN];
  for (const tile of tiles) {
    const box = tile.getBoundingClientRect();
    if (Math.abs(box.top - here.top) < 4) continue;
    if (Number.isNaN(row)) row = box.top;
    if ((box.top - row) * way > 4) break;
    const away = Math.abs(box.left - here.left);
    if (away < distance) [best, distance] = [tile, away];
  }
  return best;
}
