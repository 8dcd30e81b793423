// The browser's small storage, for choices: private windows may refuse it, and nothing important is lost then.

export function stored(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function store(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch { /* it holds until the tab is closed */ }
}
