/** Keys that belong to an input method (of Chinese, Japanese, Korean, ...) choose characters, and do nothing else. */

const IN_COMPOSITION = 229;

for (const kind of ["keydown", "keyup"]) {
  addEventListener(kind, (event) => {
    if (event.isComposing || event.keyCode === IN_COMPOSITION) event.stopImmediatePropagation();
  }, { capture: true });
}
