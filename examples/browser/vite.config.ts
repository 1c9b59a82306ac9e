import { defineConfig } from 'vite'

export default defineConfig({
  base: './',
  build: { target: 'esnext', assetsInlineLimit: 0 },
  worker: { format: 'es' },
  optimizeDeps: { exclude: ['node-liblzma'] },
})
