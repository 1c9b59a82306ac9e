/**
 * Arrivals after which code is hot in a page, which cannot lower the priority of the browser's threads that compile: the guest waits
 * for what they do. So only what has run for longer is recompiled.
 */
export const HOT_AFTER = 65_000
