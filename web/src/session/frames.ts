/** Work that is done once a frame, however often it is asked for. */

/** Gives what asks for `work`. A page that nobody sees has no frames: there it is done as soon as it can be. */
export function onceAFrame(work: () => void): () => void {
  let isAskedFor = false;
  return () => {
    if (isAskedFor) return;
    isAskedFor = true;
    const run = () => {
      isAskedFor = false;
      work();
    };
    if (document.hidden) setTimeout(run);
    else requestAnimationFrame(run);
  };
}
