/** The element of this page with that id. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id)
  if (!found) throw new Error(`Invariant broken: the page has an element ${id}`)
  return found as T
}
