/** Work that is done with a frame, and with every other one at the most, however often it is asked for. */

/** Nobody sees more of what comes faster than that; in between there is time for whoever types. */
const BETWEEN_MS = 30;

/** Gives what asks for `work`. A page that nobody sees has no frames: there it is done as soon as it can be. */
export function onceAFrame(work: () => void): () => void {
  let isAskedFor = false;
  let last = 0;
  return () => {
    if (isAskedFor) return;
    isAskedFor = true;
    const run = () => {
      const now = performance.now();
      if (now - last < BETWEEN_MS && !document.hidden) return void requestAnimationFrame(run);
      last = now;
      isAskedFor = false;
      work();
    };
    if (document.hidden) setTimeout(run);
    else requestAnimationFrame(run);
  };
}
