// A face that is drawn to the left, by a finger or the mouse, shows what is behind it.

/** From here on it is a swipe, and no click, in pixels. */
const MEANT = 8;
const ENOUGH = 48;
const FURTHEST = 260;

/** @param {HTMLElement} face @param {(isOpen: boolean) => void} swiped */
export function swipe(face, swiped) {
  /** @type {{ x: number, y: number } | null} */
  let from = null;
  let drawn = 0;
  const end = () => {
    from = null;
    face.style.translate = '';
  };
  face.addEventListener('pointerdown', (event) => {
    if (event.button === 0) [from, drawn] = [{ x: event.clientX, y: event.clientY }, 0];
  });
  face.addEventListener('pointermove', (event) => {
    if (!from) return;
    const [across, down] = [event.clientX - from.x, event.clientY - from.y];
    if (!drawn && Math.abs(across) < MEANT) return;
    if (!drawn && Math.abs(down) > Math.abs(across)) return end();
    if (!drawn) face.setPointerCapture(event.pointerId);
    drawn = across;
    face.style.translate = `${Math.max(-FURTHEST, Math.min(0, across))}px`;
  });
  face.addEventListener('pointerup', () => {
    const far = drawn;
    end();
    if (Math.abs(far) > ENOUGH) swiped(far < 0);
  });
  face.addEventListener('pointercancel', end);
  face.addEventListener('click', (event) => {
    if (!drawn) return;
    drawn = 0;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}
